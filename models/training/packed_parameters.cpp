// Packs and unpacks bits, masks and codes.
#include "models/training/packed_parameters.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/check.h"

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

// The tensors that make up one compressed parameter: NAME.mask, NAME.values, NAME.codes, NAME.scale.
class Parts {
 public:
  Parts(const std::vector<NamedTensor>& tensors, const std::string& name) : tensors_(tensors), name_(name) {}

  bool has(const char* part) const { return find_tensor(tensors_, name_ + part).defined(); }
  Tensor get(const char* part, DType dtype, int64_t count) const {
    const Tensor tensor = find_tensor(tensors_, name_ + part);
    CHECK(tensor.defined(), "compressed parameter {}: there is no tensor {}{}", name_, name_, part);
    CHECK(tensor.dtype() == dtype && tensor.numel() == count,
          "compressed parameter {}: {}{} is {}; it must be {} of {} elements", name_, name_, part,
          tensor.str(), name_of(dtype), count);
    return tensor;
  }
  std::vector<uint8_t> bits(const char* part, int bits, int64_t count) const {
    return unpack_bits(get(part, DType::u8, (count * bits + 7) / 8), bits, count);
  }

 private:
  const std::vector<NamedTensor>& tensors_;
  const std::string& name_;
};

Quantized read_codes(const Parts& parts, const Shape& shape, const Tensor& mask, int bits, int64_t count) {
  const bool pruned = mask.defined();
  const Tensor scale = parts.get(".scale", DType::f32, 2);
  Quantized q{Tensor(), scale.data<float>()[0], scale.data<float>()[1], bits};
  const float top = static_cast<float>((1 << bits) - 1);
  CHECK(!pruned || (q.zero == std::round(q.zero) && q.zero >= 0 && q.zero <= top),
        "the code of 0 is {}; in a pruned tensor it must be one of 0..{}", q.zero, top);
  q.codes = spread<uint8_t>(shape, parts.bits(".codes", bits, count), mask,
                            pruned ? static_cast<uint8_t>(q.zero) : uint8_t{0});
  return q;
}

void unpack_one(Checkpoint& checkpoint, const Parts& parts, const std::string& name, const Shape& shape,
                int bits) {
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
  CHECK(bits >= 1 && bits <= 8, "compressed parameter {}: {} bits are not known", name, bits);
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
  for (const auto& [name, value] : checkpoint.parameters) {
    const Tensor mask = find_tensor(checkpoint.masks, name);
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
  nlohmann::json index = nlohmann::json::object();
  if (!packed.index.empty()) index = nlohmann::json::parse(packed.index, nullptr, false);
  CHECK(index.is_object(), "the index of compressed parameters is not a JSON object: {}", packed.index);
  const auto is_part = [&index](const std::string& name) {
    const size_t dot = name.rfind('.');
    return dot != std::string::npos && index.contains(name.substr(0, dot));
  };
  for (const NamedTensor& tensor : packed.tensors)
    if (!is_part(tensor.name)) checkpoint.parameters.push_back(tensor);
  for (const auto& [name, entry] : index.items()) {
    try {
      const std::vector<int64_t> sizes = entry.at("shape");
      unpack_one(checkpoint, Parts(packed.tensors, name), name, Shape(std::span<const int64_t>(sizes)),
                 entry.at("bits"));
    } catch (const nlohmann::json::exception& error) {
      detail::fail("compressed parameter {}: {}", name, error.what());
    }
  }
}

}  // namespace tandem
