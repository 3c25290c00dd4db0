// Digests in safetensors files: every altered bit is found, each tensor by itself, and the check can be switched off.
#include <doctest/doctest.h>

#include <fstream>
#include <string>
#include <vector>

#include "tandem/core/digest.h"
#include "tandem/core/safetensors.h"
#include "tests/support/digest_verification.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/processor_time.h"
#include "tests/support/safetensors_bytes.h"

namespace tandem::testing {
namespace {

void read_all(const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  for (const std::string& name : file.names()) file.get(name);
}

void write_example(const std::string& path) {
  write_safetensors(path,
                    {{"first", full({2, 3}, 1.5, DType::f32)},
                     {"second", full({5}, 32, DType::u8)},  // spaces, as in the padding of a header
                     {"none", zeros({0}, DType::f64)},
                     {"also none", zeros({0}, DType::f32)}},
                    {{"format", "example-1"}, {"text", "quote\" and \u00e4"}});
}

void write_many(const std::string& path, int tensors) {
  NamedTensors all;
  const Tensor one = zeros({1}, DType::f32);
  for (int i = 0; i < tensors; ++i) all.emplace_back("layers." + std::to_string(i) + ".weight", one);
  write_safetensors(path, all);
}

}  // namespace

TEST_CASE("safetensors digests: every single altered bit of a file is found") {
  const TempDir folder;
  write_example(folder / "good");
  const std::string good = read_text(folder / "good");
  read_all(folder / "good");
  const std::string path = folder / "altered";
  write_text(path, good);
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  const auto put = [&file](size_t at, int byte) {
    file.seekp(static_cast<std::streamoff>(at)).put(static_cast<char>(byte)).flush();
  };
  for (size_t at = 0; at < good.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      put(at, good[at] ^ 1 << bit);
      const std::string message = error_of([&path] { read_all(path); });
      CAPTURE(at);
      CAPTURE(bit);
      REQUIRE(message.find(path) != std::string::npos);
    }
    put(at, good[at]);
  }
  read_all(path);
}

TEST_CASE("safetensors digests: damage to a tensor is found when it is read, and others stay readable") {
  const TempDir folder;
  const std::string path = folder / "f";
  write_example(path);
  std::string bytes = read_text(path);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);  // the last byte of "second"
  write_text(path, bytes);
  const SafetensorsFile file = SafetensorsFile::open(path);
  CHECK(file.has_digests());
  CHECK(file.get("first").to_vector<float>() == std::vector<float>(6, 1.5f));
  file.verify("first");
  for (const bool mapped : {false, true}) {
    const std::string message = error_of([&] { mapped ? file.verify("second") : (void)file.get("second"); });
    check_message(message, {path, "tensor \"second\" is altered or damaged since it was written",
                            "restore a copy of the file"});
  }
}

TEST_CASE("safetensors digests: without verification a damaged file is read as it is") {
  const TempDir folder;
  const std::string path = folder / "f";
  write_example(path);
  std::string bytes = read_text(path);
  bytes.back() = 33;
  bytes.replace(bytes.find("example-1"), 9, "example-2");
  write_text(path, bytes);
  check_message(error_of([&path] { SafetensorsFile::open(path); }),
                {path, "the header is altered or damaged"});
  const DigestVerification off(false);
  const SafetensorsFile file = SafetensorsFile::open(path);
  CHECK(file.metadata().at("format") == "example-2");
  CHECK(file.get("second").to_vector<uint8_t>().back() == 33);
  file.verify("second");
  file.require_digests();
}

TEST_CASE(
    "safetensors digests: a file whose digests were lost is refused, and one that never had any is read") {
  const TempDir folder;
  const std::string path = folder / "f";
  for (const char* key : {"tandem.digest.header", "tandem.digest.tensors"}) {
    write_example(path);
    std::string bytes = read_text(path);
    bytes[bytes.find(key)] = 'T';
    write_text(path, bytes);
    check_message(error_of([&path] { SafetensorsFile::open(path); }), {path, "altered or damaged"});
  }
  write_text(path, file_of(R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4));
  const SafetensorsFile file = SafetensorsFile::open(path);
  CHECK_FALSE(file.has_digests());
  CHECK(file.get("w").numel() == 4);
  file.verify("w");
  check_message(error_of([&file] { file.require_digests(); }), {path, "it has no digests"});
}

TEST_CASE("safetensors digests: a header can be written before the data and replaced after them") {
  const std::string text = "abcd", to_come(Digest::kCharacters, '0');
  const auto header = [](const std::string& digest) {
    return safetensors_header("f", {{"w", DType::u8, {4}, digest}}, {{"format", "tokens"}});
  };
  const TempDir folder;
  const std::string last = header(digest_of(text.data(), text.size()));
  CHECK(header(to_come).size() == last.size());
  write_text(folder / "f", last + text);
  const SafetensorsFile file = SafetensorsFile::open(folder / "f");
  file.require_digests();
  file.verify("w");
  write_text(folder / "f", header(to_come) + text);
  CHECK(contains(error_of([&] { SafetensorsFile::open(folder / "f").get("w"); }), "tensor \"w\" is altered"));
}

TEST_CASE("safetensors digests: digests that cannot be written are refused") {
  const std::string digest(Digest::kCharacters, '0');
  const Tensor one = zeros({1}, DType::f32);
  check_message(error_of([&] {
                  safetensors_header("f", {{"a", DType::u8, {1}, digest}, {"b", DType::u8, {1}}});
                }),
                {"cannot write f", "\"b\" has no digest, the first tensor has one"});
  check_message(error_of([&] {
                  safetensors_header("f", {{"a", DType::u8, {1}, "12"}});
                }),
                {"cannot write f", "a digest has 32 characters, not 2"});
  check_message(error_of([&] {
                  write_safetensors("f", {{"a", one}}, {{"tandem.digest.header", ""}});
                }),
                {"cannot write f", "tandem.digest.header is not free"});
}

TEST_CASE("safetensors: the time to load a file grows with its tensors, not with their square") {
  const TempDir folder;
  const auto loading = [path = folder / "f"](int tensors) {
    write_many(path, tensors);
    return [path] { read_all(path); };
  };
  CHECK(grows_linearly(loading, 25'000));
}

}  // namespace tandem::testing
