// Safetensors: round trips, the exact bytes, missing tensors, and writes that fail.
#include "tandem/core/safetensors.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tandem/core/digest.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/safetensors_bytes.h"

namespace tandem::testing {

TEST_CASE("safetensors: all dtypes, shapes and metadata come back") {
  const TempDir folder;
  const std::string path = folder / "weights.safetensors";
  const NamedTensors tensors{
      {"f32", tensor_of<float>({2, 3}, std::vector<float>{1, -2, 0.5f, 1e-40f, 3e38f, -0.0f})},
      {"f64", tensor_of<double>({2}, std::vector<double>{1e-300, -1.0 / 3})},
      {"bf16", tensor_of<bf16>({3}, std::vector<bf16>{bf16(1.0f), bf16(-2.5f), bf16(1e30f)})},
      {"i32", tensor_of<int32_t>({2, 1}, std::vector<int32_t>{INT32_MIN, 7})},
      {"i64", tensor_of<int64_t>({1}, std::vector<int64_t>{INT64_MIN})},
      {"u8", tensor_of<uint8_t>({5}, std::vector<uint8_t>{0, 255, 3, 4, 5})},
      {"scalar", tensor_of<float>({}, std::vector<float>{42})},
      {"empty", Tensor({3, 0, 2}, DType::f64)}};
  write_safetensors(path, tensors, {{"vocab", "0a20"}, {"step", "12"}});

  const SafetensorsFile file = SafetensorsFile::open(path);
  CHECK(file.path() == path);
  CHECK(file.names().size() == tensors.size());
  CHECK(file.metadata() == std::map<std::string, std::string>{{"step", "12"}, {"vocab", "0a20"}});
  for (const auto& item : tensors) {
    const auto& name = item.first;
    const Tensor& tensor = item.second;
    CAPTURE(name);
    REQUIRE(file.has(name));
    const Tensor back = file.get(name, tensor.dtype(), tensor.shape());
    CHECK(file.dtype(name) == tensor.dtype());
    CHECK(file.shape(name) == tensor.shape());
    CHECK(std::memcmp(back.raw(), tensor.raw(), tensor.nbytes()) == 0);
  }
  CHECK_FALSE(file.has("f16"));
  CHECK_FALSE(file.has("__metadata__"));
  CHECK(count(folder) == 1);
}

TEST_CASE("safetensors: a map of tensors is saved and loaded in one call, from and to any device") {
  const TempDir folder;
  const std::string path = folder / "map";
  for (const Device device : test_devices()) {
    const TensorMap tensors{{"b", tensor_of({2, 1}, {5.0, 7.0}).to(device)}, {"a", tensor_of({1}, {3})}};
    save_tensors(path, tensors, {{"k", "v"}});
    const TensorMap back = load_tensors(path, device);
    REQUIRE(back.size() == 2);
    CHECK(back.at("b").shape() == Shape{2, 1});
    CHECK(back.at("b").device() == device);
    CHECK(back.at("b").to_vector<double>() == std::vector<double>{5, 7});
    CHECK(back.at("a").to_vector<int32_t>() == std::vector<int32_t>{3});
    CHECK(SafetensorsFile::open(path).metadata().at("k") == "v");
  }
  save_tensors(path, {});
  CHECK(load_tensors(path).empty());
  CHECK(contains(error_of([&] { save_tensors(path, {{"x", Tensor()}}); }), "tensor \"x\" is undefined"));
  CHECK(contains(error_of([&] { load_tensors(folder / "none"); }), "none"));
}

TEST_CASE("safetensors: the bytes are exactly these, and the same every time") {
  const TempDir folder;
  const NamedTensors tensors{{"z", tensor_of<uint8_t>({3}, std::vector<uint8_t>{7, 8, 9})},
                             {"b", tensor_of<int32_t>({1}, std::vector<int32_t>{0x04030201})},
                             {"a", tensor_of<int32_t>({1}, std::vector<int32_t>{5})}};
  write_safetensors(folder / "one", tensors, {{"k", "v"}});
  using namespace std::string_literals;
  const std::string data = "\1\2\3\4\5\0\0\0\7\x8\x9"s;
  const auto header_with = [&data](const std::string& own_digest) {
    std::string header = R"({"__metadata__":{"k":"v","tandem.digest.header":")" + own_digest +
                         R"(","tandem.digest.tensors":")" + digest_of(data.data(), 4) + " " +
                         digest_of(data.data() + 4, 4) + " " + digest_of(data.data() + 8, 3) +
                         R"("},"b":{"dtype":"I32","shape":[1],"data_offsets":[0,4]},)"
                         R"("a":{"dtype":"I32","shape":[1],"data_offsets":[4,8]},)"
                         R"("z":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    return little_endian(header.size()) + header;
  };
  const std::string without = header_with(std::string(32, '0'));
  CHECK(read_text(folder / "one") == header_with(digest_of(without.data(), without.size())) + data);
  write_safetensors(folder / "two", tensors, {{"k", "v"}});
  CHECK(read_text(folder / "two") == read_text(folder / "one"));
}

TEST_CASE("safetensors: each tensor is aligned to its element, whatever the order given") {
  const TempDir folder;
  NamedTensors tensors;
  const DType dtypes[] = {DType::u8, DType::bf16, DType::f64, DType::f32, DType::u8, DType::i64, DType::i32};
  for (int i = 0; i < 7; ++i) tensors.emplace_back(std::string(1 + 3 * i, 'n'), zeros({3}, dtypes[i]));
  write_safetensors(folder / "f", tensors);
  const std::string bytes = read_text(folder / "f");
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  CHECK(header % 8 == 0);
  const SafetensorsFile file = SafetensorsFile::open(folder / "f");
  uint64_t offset = 0;
  for (const std::string& name : file.names()) {
    CHECK(offset % size_of(file.dtype(name)) == 0);
    offset += 3 * size_of(file.dtype(name));
  }
}

TEST_CASE("safetensors: a view writes its own rows only") {
  const TempDir folder;
  const Tensor whole = tensor_of<int32_t>({3, 2}, std::vector<int32_t>{1, 2, 3, 4, 5, 6});
  write_safetensors(folder / "f", {{"rows", whole.view_rows(1, 2)}});
  const Tensor back = SafetensorsFile::open(folder / "f").get("rows");
  CHECK(back.to_vector<int32_t>() == std::vector<int32_t>{3, 4});
}

TEST_CASE(
    "safetensors: reads a file written by hand: other key order, spaces, unknown keys, unaligned data") {
  const TempDir folder;
  const std::string header =
      R"( {"b" : {"data_offsets":[1,9], "shape":[2], "dtype":"F32", "extra":null}, "a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}   )";
  std::string bytes = file_of(header, 1);
  const float values[] = {1.5f, -2.0f};
  bytes.append(reinterpret_cast<const char*>(values), sizeof values);
  write_text(folder / "f", bytes);
  const SafetensorsFile file = SafetensorsFile::open(folder / "f");
  CHECK(file.names() == std::vector<std::string>{"a", "b"});  // in the order of their data
  CHECK(file.metadata().empty());
  CHECK(file.get("a").to_vector<uint8_t>() == std::vector<uint8_t>{0});
  CHECK(file.get("b").to_vector<float>() == std::vector<float>{1.5f, -2.0f});
}

TEST_CASE("safetensors: a file may hold no tensors, or empty ones only") {
  const TempDir folder;
  write_safetensors(folder / "none", {}, {{"only", "metadata"}});
  const SafetensorsFile none = SafetensorsFile::open(folder / "none");
  CHECK(none.names().empty());
  CHECK(none.metadata().at("only") == "metadata");
  write_safetensors(folder / "empty", {{"a", Tensor({0}, DType::f32)}, {"b", Tensor({0, 9}, DType::u8)}});
  CHECK(SafetensorsFile::open(folder / "empty").get("b").shape() == Shape{0, 9});
}

TEST_CASE("safetensors: names and metadata may hold any characters") {
  const TempDir folder;
  using namespace std::string_literals;
  const std::vector<std::string> names{"rnn.rnn_lst.0.weight_c",
                                       "with space",
                                       "quote\"back\\slash",
                                       "line\nbreak\ttab",
                                       "nul\0inside"s,
                                       "\u00e4\u4e2d\U0001f600",
                                       "{}",
                                       "dtype",
                                       "../../etc"};
  NamedTensors tensors;
  for (size_t i = 0; i < names.size(); ++i)
    tensors.emplace_back(names[i], full({1}, static_cast<double>(i), DType::i32));
  write_safetensors(folder / "f", tensors, {{"nul\0"s, "\x01\n\""}});
  const SafetensorsFile file = SafetensorsFile::open(folder / "f");
  for (size_t i = 0; i < names.size(); ++i) CHECK(file.get(names[i]).item() == static_cast<double>(i));
  CHECK(file.metadata().at("nul\0"s) == "\x01\n\"");
}

TEST_CASE("safetensors: errors about a missing or different tensor name file and tensor") {
  const TempDir folder;
  const std::string path = folder / "f.safetensors";
  write_safetensors(path, {{"w", zeros({2, 3}, DType::f32)}});
  const SafetensorsFile file = SafetensorsFile::open(path);
  check_message(error_of([&] { file.get("v"); }), {path, "no tensor \"v\"", "its 1"});
  check_message(error_of([&] { file.get("odd\x1b[2J\xff"); }),
                {path, "\\x1b[2J\\xff"});  // no raw control characters
  check_message(error_of([&] { file.shape("v"); }), {path, "\"v\""});
  check_message(error_of([&] {
                  file.get("w", DType::f64, {2, 3});
                }),
                {path, "\"w\" is f32 (2, 3), expected f64 (2, 3)"});
  check_message(error_of([&] { file.get("w", DType::f32, {3, 2}); }), {path, "expected f32 (3, 2)"});
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 4);
  check_message(error_of([&] { file.get("w"); }), {path, "\"w\"", "4 bytes too early"});
  check_message(error_of([&] { SafetensorsFile::open(folder / "none"); }), {folder / "none", "No such file"});
  check_message(error_of([&] { SafetensorsFile::open(folder.path()); }), {"not a regular file"});
  check_message(error_of([] { SafetensorsFile::open("/dev/zero"); }), {"/dev/zero", "not a regular file"});
}

TEST_CASE("safetensors: tensors and paths that cannot be written are refused") {
  const TempDir folder;
  const std::string path = folder / "f";
  const Tensor one = zeros({1}, DType::f32);
  check_message(error_of([&] {
                  write_safetensors(path, {{"w", one}, {"w", one}});
                }),
                {path, "\"w\" is given twice"});
  check_message(error_of([&] { write_safetensors(path, {{"w", Tensor()}}); }), {path, "\"w\" is undefined"});
  check_message(error_of([&] { write_safetensors(path, {{"__metadata__", one}}); }), {path, "__metadata__"});
  check_message(error_of([&] { write_safetensors(path, {{"", one}}); }), {path, "cannot be named"});
  check_message(error_of([&] { write_safetensors(path, {{"\xff", one}}); }), {path, "not UTF-8"});
  check_message(error_of([&] {
                  write_safetensors(path, {{"w", one}}, {{"k", "\xff"}});
                }),
                {path, "not UTF-8"});
  CHECK(count(folder) == 0);
  check_message(error_of([&] { write_safetensors(folder / "no/such/folder", {}); }),
                {folder / "no/such/folder", "No such file or directory"});
  check_message(error_of([&] { write_safetensors(folder.path(), {}); }), {"not a regular file"});
  check_message(error_of([] { write_safetensors("/dev/full", {}); }), {"/dev/full", "not a regular file"});
}

TEST_CASE("safetensors: a write that fails half way leaves the old file whole and nothing beside it") {
  const TempDir folder;
  const std::string path = folder / "checkpoint";
  write_safetensors(path, {{"w", full({10}, 1, DType::f32)}});
  const std::string before = read_text(path);

  // Writing past this size fails as on a full disk.
  rlimit saved{};
  getrlimit(RLIMIT_FSIZE, &saved);
  const rlimit small{10000, saved.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = error_of([&path] {
    write_safetensors(path, {{"w", full({100000}, 2, DType::f32)}});
  });
  setrlimit(RLIMIT_FSIZE, &saved);
  std::signal(SIGXFSZ, handler);

  check_message(message, {path, "File too large", "unchanged"});
  CHECK(read_text(path) == before);
  CHECK(count(folder) == 1);
}

}  // namespace tandem::testing
