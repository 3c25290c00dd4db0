// Packed parameters: bits without gaps, round trips of every kind of checkpoint, sizes, and broken files.
#include "tandem/models/training/packed_parameters.h"

#include <filesystem>

#include "tandem/core/safetensors.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/op_cases.h"

namespace tandem::testing {
namespace {

TEST_CASE("packed parameters: numbers of any number of bits come back, and take no more room than that") {
  for (int bits = 1; bits <= 8; ++bits) {
    for (const size_t count : {0, 1, 7, 8, 65}) {
      CAPTURE(bits);
      std::vector<uint8_t> numbers;
      for (size_t i = 0; i < count; ++i) numbers.push_back(static_cast<uint8_t>((i * 37 + 5) % (1u << bits)));
      if (count > 0) numbers.back() = static_cast<uint8_t>((1u << bits) - 1);
      const Tensor bytes = pack_bits(numbers, bits);
      CHECK(bytes.numel() == static_cast<int64_t>((count * bits + 7) / 8));
      CHECK(unpack_bits(bytes, bits, static_cast<int64_t>(count)) == numbers);
    }
  }
  CHECK(pack_bits({1, 0, 1, 1, 0, 0, 0, 0, 1}, 1).to_vector<uint8_t>() == std::vector<uint8_t>{13, 1});
  CHECK(pack_bits({0x21, 0x3f}, 6).to_vector<uint8_t>() == std::vector<uint8_t>{0xe1, 0x0f});
}

// A bias, which is not compressed, and matrices that are pruned, quantized, or both.
Checkpoint compressed_checkpoint() {
  Checkpoint checkpoint;
  checkpoint.model_config = "{}";
  checkpoint.vocabulary = Vocabulary::from_hex("6162");
  checkpoint.parameters = {{"bias", random_tensor({5}, DType::f32, 1)},
                           {"both.weight", random_tensor({5, 13}, DType::f32, 2)},
                           {"codes.weight", random_tensor({3, 7}, DType::f32, 3)},
                           {"sparse.weight", random_tensor({4, 9}, DType::f32, 4)}};
  const std::vector<NamedTensor> pruned = {checkpoint.parameters[1], checkpoint.parameters[3]};
  checkpoint.masks = prune(pruned, 0.6, PruningScope::layer);
  for (const size_t i : {1, 2}) {
    auto& [name, value] = checkpoint.parameters[i];
    const Quantized q = quantize(value, i == 1 ? 6 : 8, i == 1);
    checkpoint.quantized.emplace(name, q);
    value = dequantize(q);
  }
  return checkpoint;
}

template <class T>
std::map<std::string, std::vector<T>> by_name(const std::vector<NamedTensor>& tensors) {
  std::map<std::string, std::vector<T>> all;
  for (const NamedTensor& tensor : tensors) all[tensor.name] = tensor.value.to_vector<T>();
  return all;
}

TEST_CASE("packed parameters: a compressed checkpoint comes back bit for bit, and takes what it should") {
  const TempDir folder;
  const std::string path = folder / "small.safetensors";
  const Checkpoint before = compressed_checkpoint();
  save_checkpoint(path, before);
  const Checkpoint after = load_checkpoint(path);
  CHECK(by_name<float>(after.parameters) == by_name<float>(before.parameters));
  CHECK(by_name<uint8_t>(after.masks) == by_name<uint8_t>(before.masks));
  REQUIRE(after.quantized.size() == 2);
  for (const auto& [name, q] : before.quantized) {
    const Quantized& back = after.quantized.at(name);
    CHECK(back.codes.to_vector<uint8_t>() == q.codes.to_vector<uint8_t>());
    CHECK(back.codes.shape() == q.codes.shape());
    CHECK(back.step == q.step);
    CHECK(back.zero == q.zero);
    CHECK(back.bits == q.bits);
  }
  const SafetensorsFile file = SafetensorsFile::open(path);
  int64_t bytes = 0;
  for (const std::string& name : file.names())
    bytes += file.shape(name).numel() * static_cast<int64_t>(size_of(file.dtype(name)));
  // The bias; 65 bits and 26 codes of 6 bits and a scale; 21 codes and a scale; 36 bits and 14 values.
  CHECK(bytes == 20 + (9 + 20 + 8) + (21 + 8) + (5 + 56));
}

TEST_CASE("packed parameters: a checkpoint that was not compressed is kept as ever") {
  const TempDir folder;
  const std::string path = folder / "plain.safetensors";
  Checkpoint checkpoint = compressed_checkpoint();
  checkpoint.masks.clear();
  checkpoint.quantized.clear();
  save_checkpoint(path, checkpoint);
  const SafetensorsFile file = SafetensorsFile::open(path);
  CHECK(file.names().size() == 4);
  CHECK(file.has("model.both.weight"));
  CHECK_FALSE(file.metadata().contains("compressed"));
}

TEST_CASE("packed parameters: what is missing or of another size is named, with the file") {
  const TempDir folder;
  const std::string path = folder / "broken.safetensors";
  save_checkpoint(path, compressed_checkpoint());
  const SafetensorsFile whole = SafetensorsFile::open(path);
  NamedTensors tensors;
  for (const std::string& name : whole.names()) tensors.emplace_back(name, whole.get(name));
  auto metadata = whole.metadata();
  const auto error = [&] {
    const std::string broken = folder / "changed.safetensors";
    write_safetensors(broken, tensors, metadata);
    const std::string message = error_of([&broken] { load_checkpoint(broken); });
    CHECK(contains(message, broken));
    return message;
  };
  const auto replace = [&tensors](const std::string& name, const Tensor& by) {
    const auto place = std::find_if(tensors.begin(), tensors.end(),
                                    [&name](const auto& tensor) { return tensor.first == name; });
    REQUIRE(place != tensors.end());
    const Tensor old = place->second;
    by.defined() ? void(place->second = by) : void(tensors.erase(place));
    return old;
  };
  Tensor old = replace("model.both.weight.codes", Tensor());
  CHECK(contains(error(), "compressed parameter both.weight: there is no tensor both.weight.codes"));
  tensors.emplace_back("model.both.weight.codes", zeros({3}, DType::u8));
  CHECK(contains(error(), "both.weight.codes is u8 (3) on cpu; it must be u8 of 20 elements"));
  replace("model.both.weight.codes", old);
  old = replace("model.both.weight.scale", full({2}, 0.5, DType::f32));
  CHECK(contains(error(), "the code of 0 is 0.5; in a pruned tensor it must be one of 0..63"));
  replace("model.both.weight.scale", old);
  old = replace("model.sparse.weight.mask", zeros({4}, DType::u8));
  CHECK(contains(error(), "sparse.weight.mask is u8 (4)"));
  old.span<uint8_t>().back() ^= 0x80;  // beyond the 36 bits
  replace("model.sparse.weight.mask", old);
  CHECK(contains(error(), "compressed parameter sparse.weight: .mask has bits beyond its 36 numbers"));
  old.span<uint8_t>().back() ^= 0x80;
  old = replace("model.both.weight.scale", full({2}, INFINITY, DType::f32));
  CHECK(contains(error(), "compressed parameter both.weight: its step is inf"));
  replace("model.both.weight.scale", old);
  tensors.emplace_back("model.both.weight.extra", zeros({3}, DType::u8));
  CHECK(contains(error(), "1 tensors are parts of compressed parameters that have no such parts"));
  tensors.pop_back();
  metadata["compressed"] = "[]";
  CHECK(contains(error(), "is not a JSON object: []"));
  metadata["compressed"] = R"({"both.weight":{"shape":[5,13],"bits":9}})";
  CHECK(contains(error(), "compressed parameter both.weight: 9 bits are not known"));
  metadata["compressed"] = R"({"both.weight":{"bits":8}})";
  CHECK(contains(error(), "compressed parameter both.weight: the field \"shape\" is missing"));
  for (const char* shape : {"[-1]", "[2305843009213693952,4]", "[9223372036854775808]", "[5.0,13]", "65"}) {
    metadata["compressed"] = R"({"both.weight":{"bits":6,"shape":)" + std::string(shape) + "}}";
    CHECK(contains(error(), ": "));
  }
  // 2^61 weights of 8 bits: their bytes do not overflow, and are not those of the file.
  metadata["compressed"] = R"({"codes.weight":{"shape":[2305843009213693952],"bits":8}})";
  CHECK(contains(error(),
                 "codes.weight.codes is u8 (21) on cpu; it must be u8 of 2305843009213693952 elements"));
  metadata["compressed"] = R"({"codes.weight":{"shape":[4611686018427387904],"bits":8}})";
  CHECK(contains(error(), "must be u8 of 4611686018427387904 elements"));
  metadata["compressed"] = std::string(100'000, '[');
  CHECK(contains(error(), "the index of compressed parameters: nested more than 32 deep"));
}

}  // namespace
}  // namespace tandem::testing
