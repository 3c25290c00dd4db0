// Packs and unpacks bits, masks and codes.
#include "tandem/models/training/packed_parameters.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tandem/core/check.h"
#include "tandem/core/json.h"
#include "tandem/core/utf8.h"
#include "tandem/models/tensor_index.h"

namespace tandem {
namespace {

constexpr int kValueBits = 32;

// Returns the elements that the mask keeps, in order; all of them without a mask.
template <class T>
std::vector<T> kept(const Tensor& x, const Tensor& mask) {
  std::vector<T> values;
  for (int64_t i = 0; i < x.numel(); ++i)
    if (!mask.defined() || mask.data<uint8_t>()[i]) values.push_back(x.data<T>()[i]);
  return values;
}

// Undoes kept(): elements that the mask does not keep become `rest`.
template <class T>
Tensor spread(const Shape& shape, const std::vector<T>& values, const Tensor& mask, T rest) {
  Tensor x(shape, dtype_of<T>());
  size_t next = 0;
  for (int64_t i = 0; i < x.numel(); ++i)
    x.data<T>()[i] = !mask.defined() || mask.data<uint8_t>()[i] ? values[next++] : rest;
  return x;
}

template <class T>
Tensor flat(const std::vector<T>& values) {
  return tensor_of({static_cast<int64_t>(values.size())}, values);
}

// Returns the bytes that hold `count` numbers of `bits` bits each, for any count that a shape may have.
int64_t packed_bytes(int64_t count, int bits) {
  return count / 8 * bits + (count % 8 * bits + 7) / 8;
}

// The tensors that make up one compressed parameter: NAME.mask, NAME.values, NAME.codes, NAME.scale. Their sizes are
// compared with the parameter's shape before anything of that shape is made.
class Parts {
 public:
  Parts(const TensorIndex& tensors, const std::string& name) : tensors_(tensors), name_(name) {}

  bool has(const char* part) const { return tensors_.has(name_ + part); }
  Tensor get(const char* part, DType dtype, int64_t count) {
    const Tensor tensor = tensors_.find(name_ + part);
    TANDEM_CHECK(tensor.defined(), "{}: there is no tensor {}{}", what(), printable_start(name_), part);
    TANDEM_CHECK(tensor.dtype() == dtype && tensor.numel() == count,
                 "{}: {}{} is {}; it must be {} of {} elements", what(), printable_start(name_), part,
                 tensor.summary(), name_of(dtype), count);
    ++taken_;
    return tensor;
  }
  std::vector<uint8_t> bits(const char* part, int bits, int64_t count) {
    const Tensor bytes = get(part, DType::u8, packed_bytes(count, bits));
    const int rest = static_cast<int>(count % 8 * bits % 8);  // bits used of the last byte; 0: all of them
    TANDEM_CHECK(rest == 0 || bytes.span<uint8_t>().back() >> rest == 0,
                 "{}: {} has bits beyond its {} numbers", what(), part, count);
    return unpack_bits(bytes, bits, count);
  }
  std::string what() const { return "compressed parameter " + printable_start(name_); }
  size_t taken() const { return taken_; }

 private:
  const TensorIndex& tensors_;
  const std::string& name_;
  size_t taken_ = 0;
};

Quantized read_codes(Parts& parts, const Shape& shape, const Tensor& mask, int bits, int64_t count) {
  const bool pruned = mask.defined();
  const Tensor scale = parts.get(".scale", DType::f32, 2);
  Quantized q{Tensor(), scale.data<float>()[0], scale.data<float>()[1], bits};
  const float top = static_cast<float>((1 << bits) - 1);
  TANDEM_CHECK(std::isfinite(q.step) && std::isfinite(q.zero), "{}: its step is {} and its code of 0 is {}",
               parts.what(), q.step, q.zero);
  TANDEM_CHECK(!pruned || (q.zero == std::round(q.zero) && q.zero >= 0 && q.zero <= top),
               "{}: the code of 0 is {}; in a pruned tensor it must be one of 0..{}", parts.what(), q.zero,
               top);
  q.codes = spread<uint8_t>(shape, parts.bits(".codes", bits, count), mask,
                            pruned ? static_cast<uint8_t>(q.zero) : uint8_t{0});
  return q;
}

void unpack_one(Checkpoint& checkpoint, Parts& parts, const std::string& name, const Shape& shape,
                int64_t entry_bits) {
  TANDEM_CHECK((entry_bits >= 1 && entry_bits <= 8) || entry_bits == kValueBits, "{}: {} bits are not known",
               parts.what(), entry_bits);
  const int bits = static_cast<int>(entry_bits);
  Tensor mask;
  int64_t count = shape.numel();
  if (parts.has(".mask")) {
    mask = tensor_of(shape, parts.bits(".mask", 1, count));
    const auto all = mask.span<uint8_t>();
    count = std::count(all.begin(), all.end(), uint8_t{1});
    checkpoint.masks.push_back({name, mask});
  }
  if (bits == kValueBits) {
    const Tensor values = parts.get(".values", DType::f32, count);
    checkpoint.parameters.push_back({name, spread(shape, values.to_vector<float>(), mask, 0.0f)});
    return;
  }
  const Quantized q = read_codes(parts, shape, mask, bits, count);
  checkpoint.parameters.push_back({name, dequantize(q)});
  checkpoint.quantized.emplace(name, q);
}

}  // namespace

Tensor pack_bits(const std::vector<uint8_t>& numbers, int bits) {
  std::vector<uint8_t> bytes((numbers.size() * bits + 7) / 8, 0);
  for (size_t i = 0; i < numbers.size(); ++i) {
    const size_t at = i * bits;
    const unsigned shifted = static_cast<unsigned>(numbers[i]) << at % 8;
    bytes[at / 8] |= static_cast<uint8_t>(shifted);
    if (shifted > 255) bytes[at / 8 + 1] |= static_cast<uint8_t>(shifted >> 8);
  }
  return flat(bytes);
}

std::vector<uint8_t> unpack_bits(const Tensor& bytes, int bits, int64_t count) {
  std::vector<uint8_t> numbers(static_cast<size_t>(count));
  const uint8_t* from = bytes.data<uint8_t>();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = i * bits;
    unsigned both = from[at / 8];
    if (at % 8 + bits > 8) both |= static_cast<unsigned>(from[at / 8 + 1]) << 8;
    numbers[i] = static_cast<uint8_t>(both >> at % 8 & ((1u << bits) - 1));
  }
  return numbers;
}

PackedParameters pack_parameters(const Checkpoint& checkpoint) {
  PackedParameters packed;
  nlohmann::json index;
  const TensorIndex masks(checkpoint.masks, "masks");
  for (const auto& [name, value] : checkpoint.parameters) {
    const Tensor mask = masks.find(name);
    const auto quantized = checkpoint.quantized.find(name);
    const bool in_codes = quantized != checkpoint.quantized.end();
    if (!mask.defined() && !in_codes) {
      packed.tensors.push_back({name, value});
      continue;
    }
    index[name] = {{"shape", std::vector<int64_t>(value.shape().begin(), value.shape().end())},
                   {"bits", in_codes ? quantized->second.bits : kValueBits}};
    if (mask.defined()) packed.tensors.push_back({name + ".mask", pack_bits(mask.to_vector<uint8_t>(), 1)});
    if (in_codes) {
      const Quantized& q = quantized->second;
      packed.tensors.push_back({name + ".codes", pack_bits(kept<uint8_t>(q.codes, mask), q.bits)});
      packed.tensors.push_back({name + ".scale", flat(std::vector<float>{q.step, q.zero})});
    } else {
      packed.tensors.push_back({name + ".values", flat(kept<float>(value.to(Device::cpu()), mask))});
    }
  }
  if (!index.is_null()) packed.index = index.dump();
  return packed;
}

void unpack_parameters(Checkpoint& checkpoint, const PackedParameters& packed) {
  constexpr const char* kIndex = "the index of compressed parameters";
  nlohmann::json index = nlohmann::json::object();
  if (!packed.index.empty()) index = parse_json(packed.index, kIndex);
  TANDEM_CHECK(index.is_object(), "{} is not a JSON object: {}", kIndex, printable_start(packed.index));
  size_t parts_left = 0;
  const auto is_part = [&index](const std::string& name) {
    const size_t dot = name.rfind('.');
    return dot != std::string::npos && index.contains(name.substr(0, dot));
  };
  for (const NamedTensor& tensor : packed.tensors) {
    if (is_part(tensor.name))
      ++parts_left;
    else
      checkpoint.parameters.push_back(tensor);
  }
  const TensorIndex tensors(packed.tensors, "model");
  for (const auto& [name, entry] : index.items()) {
    Parts parts(tensors, name);
    const auto sizes = json_field<std::vector<int64_t>>(entry, "shape", parts.what());
    unpack_one(checkpoint, parts, name, Shape(std::span<const int64_t>(sizes)),
               json_field<int64_t>(entry, "bits", parts.what()));
    parts_left -= parts.taken();
  }
  TANDEM_CHECK(parts_left == 0, "{} tensors are parts of compressed parameters that have no such parts",
               parts_left);
}

}  // namespace tandem
