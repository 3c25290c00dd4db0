// Safetensors: round trips, the bytes themselves, every malformed file, random damage, and writes that fail.
#include "core/safetensors.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "core/atomic_file.h"
#include "core/error.h"

using namespace tandem;
namespace fs = std::filesystem;

namespace {

// A folder of its own, removed with everything in it.
struct Folder {
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "tandem_test_XXXXXX").string();
    path = mkdtemp(pattern.data());
  }
  ~Folder() { fs::remove_all(path); }
  std::string file(const std::string& name) const { return (path / name).string(); }
  size_t count() const { return static_cast<size_t>(std::distance(fs::directory_iterator(path), {})); }
  fs::path path;
};

std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string little_endian(uint64_t value) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (8 * i));
  return bytes;
}

// The file of this header and this many bytes of data: 0, 1, 2, ...
std::string file_of(const std::string& header, size_t data_bytes) {
  std::string bytes = little_endian(header.size()) + header;
  for (size_t i = 0; i < data_bytes; ++i) bytes += static_cast<char>(i);
  return bytes;
}

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void check_message(const std::string& message, std::initializer_list<std::string> parts) {
  for (const std::string& part : parts) {
    CAPTURE(message);
    CAPTURE(part);
    CHECK(message.find(part) != std::string::npos);
  }
}

// Opening these bytes must be refused with a message that names the file and holds all the parts.
void check_refused(const std::string& bytes, std::initializer_list<std::string> parts) {
  Folder folder;
  const std::string path = folder.file("bad.safetensors");
  write_bytes(path, bytes);
  const std::string message = message_of([&path] { SafetensorsFile::open(path); });
  check_message(message, {path});
  check_message(message, parts);
}

const std::string kTwo =
    R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"I32","shape":[1,2],"data_offsets":[4,12]}})";

}  // namespace

TEST_CASE("safetensors: all dtypes, shapes and metadata come back") {
  Folder folder;
  const std::string path = folder.file("weights.safetensors");
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
  CHECK(folder.count() == 1);
}

TEST_CASE("safetensors: the bytes are exactly these, and the same every time") {
  Folder folder;
  const NamedTensors tensors{{"z", tensor_of<uint8_t>({3}, std::vector<uint8_t>{7, 8, 9})},
                             {"b", tensor_of<int32_t>({1}, std::vector<int32_t>{0x04030201})},
                             {"a", tensor_of<int32_t>({1}, std::vector<int32_t>{5})}};
  write_safetensors(folder.file("one"), tensors, {{"k", "v"}});
  std::string header =
      R"({"__metadata__":{"k":"v"},"b":{"dtype":"I32","shape":[1],"data_offsets":[0,4]},)"
      R"("a":{"dtype":"I32","shape":[1],"data_offsets":[4,8]},"z":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  using namespace std::string_literals;
  CHECK(read_bytes(folder.file("one")) ==
        little_endian(header.size()) + header + "\1\2\3\4\5\0\0\0\7\x8\x9"s);
  write_safetensors(folder.file("two"), tensors, {{"k", "v"}});
  CHECK(read_bytes(folder.file("two")) == read_bytes(folder.file("one")));
}

TEST_CASE("safetensors: each tensor is aligned to its element, whatever the order given") {
  Folder folder;
  NamedTensors tensors;
  const DType dtypes[] = {DType::u8, DType::bf16, DType::f64, DType::f32, DType::u8, DType::i64, DType::i32};
  for (int i = 0; i < 7; ++i) tensors.emplace_back(std::string(1 + 3 * i, 'n'), zeros({3}, dtypes[i]));
  write_safetensors(folder.file("f"), tensors);
  const std::string bytes = read_bytes(folder.file("f"));
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  CHECK(header % 8 == 0);
  const SafetensorsFile file = SafetensorsFile::open(folder.file("f"));
  uint64_t offset = 0;
  for (const std::string& name : file.names()) {
    CHECK(offset % size_of(file.dtype(name)) == 0);
    offset += 3 * size_of(file.dtype(name));
  }
}

TEST_CASE("safetensors: a view writes its own rows only") {
  Folder folder;
  const Tensor whole = tensor_of<int32_t>({3, 2}, std::vector<int32_t>{1, 2, 3, 4, 5, 6});
  write_safetensors(folder.file("f"), {{"rows", whole.alias_rows(1, 2)}});
  const Tensor back = SafetensorsFile::open(folder.file("f")).get("rows");
  CHECK(back.to_vector<int32_t>() == std::vector<int32_t>{3, 4});
}

TEST_CASE(
    "safetensors: reads a file written by hand: other key order, spaces, unknown keys, unaligned data") {
  Folder folder;
  const std::string header =
      R"( {"b" : {"data_offsets":[1,9], "shape":[2], "dtype":"F32", "extra":null}, "a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}   )";
  std::string bytes = file_of(header, 1);
  const float values[] = {1.5f, -2.0f};
  bytes.append(reinterpret_cast<const char*>(values), sizeof values);
  write_bytes(folder.file("f"), bytes);
  const SafetensorsFile file = SafetensorsFile::open(folder.file("f"));
  CHECK(file.names() == std::vector<std::string>{"a", "b"});  // in the order of their data
  CHECK(file.metadata().empty());
  CHECK(file.get("a").to_vector<uint8_t>() == std::vector<uint8_t>{0});
  CHECK(file.get("b").to_vector<float>() == std::vector<float>{1.5f, -2.0f});
}

TEST_CASE("safetensors: a file of no tensors, and one of empty tensors only") {
  Folder folder;
  write_safetensors(folder.file("none"), {}, {{"only", "metadata"}});
  const SafetensorsFile none = SafetensorsFile::open(folder.file("none"));
  CHECK(none.names().empty());
  CHECK(none.metadata().at("only") == "metadata");
  write_safetensors(folder.file("empty"), {{"a", Tensor({0}, DType::f32)}, {"b", Tensor({0, 9}, DType::u8)}});
  CHECK(SafetensorsFile::open(folder.file("empty")).get("b").shape() == Shape{0, 9});
}

TEST_CASE("safetensors: names and metadata of any characters") {
  Folder folder;
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
  write_safetensors(folder.file("f"), tensors, {{"nul\0"s, "\x01\n\""}});
  const SafetensorsFile file = SafetensorsFile::open(folder.file("f"));
  for (size_t i = 0; i < names.size(); ++i) CHECK(file.get(names[i]).item() == static_cast<double>(i));
  CHECK(file.metadata().at("nul\0"s) == "\x01\n\"");
}

TEST_CASE("safetensors: asking for what is not there, or is otherwise, names file and tensor") {
  Folder folder;
  const std::string path = folder.file("f.safetensors");
  write_safetensors(path, {{"w", zeros({2, 3}, DType::f32)}});
  const SafetensorsFile file = SafetensorsFile::open(path);
  check_message(message_of([&] { file.get("v"); }), {path, "no tensor \"v\"", "its 1"});
  check_message(message_of([&] { file.get("odd\x1b[2J\xff"); }),
                {path, "\\u001b"});  // no raw control characters
  check_message(message_of([&] { file.shape("v"); }), {path, "\"v\""});
  check_message(message_of([&] {
                  file.get("w", DType::f64, {2, 3});
                }),
                {path, "\"w\" is f32 (2, 3), expected f64 (2, 3)"});
  check_message(message_of([&] { file.get("w", DType::f32, {3, 2}); }), {path, "expected f32 (3, 2)"});
  fs::resize_file(path, fs::file_size(path) - 4);
  check_message(message_of([&] { file.get("w"); }), {path, "\"w\"", "4 bytes too early"});
  check_message(message_of([&] { SafetensorsFile::open(folder.file("none")); }),
                {folder.file("none"), "No such file"});
  check_message(message_of([&] { SafetensorsFile::open(folder.path.string()); }), {"not a regular file"});
  check_message(message_of([] { SafetensorsFile::open("/dev/zero"); }), {"/dev/zero", "not a regular file"});
}

TEST_CASE("safetensors: a good file, the base of the bad ones") {
  Folder folder;
  write_bytes(folder.file("f"), file_of(kTwo, 12));
  const SafetensorsFile file = SafetensorsFile::open(folder.file("f"));
  CHECK(file.get("b", DType::i32, {1, 2}).to_vector<int32_t>() ==
        std::vector<int32_t>{0x07060504, 0x0b0a0908});
}

TEST_CASE("safetensors: bad header length") {
  check_refused("", {"0 bytes are too few"});
  check_refused("1234567", {"7 bytes are too few"});
  check_refused(little_endian(1), {"header length is 1, but 0 bytes follow"});
  for (uint64_t length :
       {uint64_t{200}, uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} - 7})
    check_refused(little_endian(length) + "{}", {"header length is " + std::to_string(length)});
}

TEST_CASE("safetensors: a header beyond 100 MB is refused before it is read") {
  Folder folder;
  const std::string path = folder.file("long");
  write_bytes(path, little_endian(100'000'001) + "{}");
  fs::resize_file(path, 200'000'000);  // sparse
  check_message(message_of([&path] { SafetensorsFile::open(path); }), {path, "100000000 are allowed"});
}

TEST_CASE("safetensors: header not JSON, or of another structure") {
  using namespace std::string_literals;
  for (const std::string& header : {""s, "{"s, "}"s, "{\"a\":}"s, "{}{}"s, "nonsense"s, "{\"a\":1,}"s,
                                    "\xff\xfe"s, "{\"\xff\":{}}"s, "\0\0"s, "{} x"s})
    check_refused(file_of(header, 0), {"not JSON"});
  for (const std::string& header : {"[]"s, "3"s, "null"s, "\"text\""s})
    check_refused(file_of(header, 0), {"not an object"});
  for (const std::string& value : {"[]"s, "3"s, "null"s, "\"text\""s, "true"s, "1.5"s})
    check_refused(file_of("{\"w\":" + value + "}", 0), {"tensor \"w\"", "not an object"});
  check_refused(file_of(std::string(1000000, '['), 0), {"nested more than"});
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  check_refused(file_of(deep, 0), {"nested more than"});
}

TEST_CASE("safetensors: metadata that is not an object of texts") {
  check_refused(file_of(R"({"__metadata__":[]})", 0), {"__metadata__", "not an object"});
  check_refused(file_of(R"({"__metadata__":{"k":3}})", 0), {"__metadata__", "\"k\" is number, not text"});
  check_refused(file_of(R"({"__metadata__":{"k":{}}})", 0), {"__metadata__", "not text"});
}

TEST_CASE("safetensors: missing or mistyped fields name the tensor") {
  const auto field = [](const std::string& fields) { return file_of("{\"w\":{" + fields + "}}", 4); };
  check_refused(field(""), {"tensor \"w\"", "dtype is missing"});
  check_refused(field(R"("dtype":3,"shape":[1],"data_offsets":[0,4])"),
                {"tensor \"w\"", "dtype is missing or not text"});
  check_refused(field(R"("dtype":"F32","data_offsets":[0,4])"), {"tensor \"w\"", "shape is missing"});
  check_refused(field(R"("dtype":"F32","shape":[1])"), {"tensor \"w\"", "data_offsets is missing"});
  for (const char* shape : {"1", "[-1]", "[1.0]", "[\"1\"]", "[[1]]", "{}", "null", "[1,null]",
                            "[9223372036854775808]", "[18446744073709551616]", "[-0]", "[true]", "[1e0]"})
    check_refused(field(R"("dtype":"F32","data_offsets":[0,4],"shape":)" + std::string(shape)),
                  {"tensor \"w\"", "shape is missing or not an array of sizes"});
  for (const char* offsets : {"4", "[4]", "[0,4,8]", "[]", "[-4,0]", "[0,4.0]", "[\"0\",4]", "{\"0\":4}",
                              "null", "[0,18446744073709551615]", "[0,18446744073709551616]"})
    check_refused(field(R"("dtype":"F32","shape":[1],"data_offsets":)" + std::string(offsets)),
                  {"tensor \"w\"", "data_offsets is missing or not an array of two offsets"});
}

TEST_CASE("safetensors: a dtype that is not supported") {
  for (const char* dtype : {"F16", "f32", "BOOL", "I8", "", "F32 "})
    check_refused(
        file_of("{\"w\":{\"dtype\":\"" + std::string(dtype) + R"(","shape":[1],"data_offsets":[0,4]}})", 4),
        {"tensor \"w\"", "dtype \"" + std::string(dtype) + "\" is not one of F32 F64 BF16 I32 I64 U8"});
}

TEST_CASE("safetensors: a name twice") {
  const std::string entry = R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  check_refused(file_of("{\"w\":" + entry + ",\"w\":" + entry + "}", 4), {"tensor \"w\" occurs twice"});
  check_refused(file_of("{\"w\":" + entry + ",\"\\u0077\":" + entry + "}", 4), {"tensor \"w\" occurs twice"});
  check_refused(file_of(R"({"__metadata__":{"k":"1","k":"2"}})", 0), {"\"k\" occurs twice"});
  check_refused(file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), {"\"__metadata__\" occurs twice"});
  check_refused(file_of(R"({"w":{"dtype":"U8","shape":[4],"shape":[2],"data_offsets":[0,4]}})", 4),
                {"tensor \"w\"", "\"shape\" occurs twice"});
}

TEST_CASE("safetensors: shape and offsets that do not fit") {
  const auto with = [](const std::string& dtype, const std::string& shape, const std::string& offsets,
                       size_t bytes) {
    return file_of(
        "{\"w\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}",
        bytes);
  };
  check_refused(with("F32", "[2]", "[0,4]", 4), {"tensor \"w\"", "do not hold 2 elements of F32"});
  check_refused(with("F32", "[1]", "[0,8]", 8), {"tensor \"w\"", "do not hold 1 elements"});
  check_refused(with("F32", "[1]", "[0,7]", 7), {"tensor \"w\"", "do not hold"});
  check_refused(with("F32", "[]", "[0,0]", 0), {"tensor \"w\"", "do not hold 1 elements"});
  check_refused(with("F32", "[0]", "[0,4]", 4), {"tensor \"w\"", "do not hold 0 elements"});
  check_refused(with("F32", "[1]", "[4,0]", 4), {"tensor \"w\"", "run backwards"});
  check_refused(with("F64", "[4611686018427387904]", "[0,0]", 0),
                {"tensor \"w\"", "do not hold"});  // 2^62 * 8 wraps to 0
  check_refused(with("U8", "[4294967296,4294967296]", "[0,0]", 0), {"tensor \"w\"", "more than 2^62"});
  check_refused(with("U8", "[9223372036854775807,2]", "[0,4]", 4), {"tensor \"w\"", "more than 2^62"});
  check_refused(with("U8", "[1,1,1,1,1,1,1]", "[0,1]", 1), {"tensor \"w\"", "at most 6"});
  check_refused(with("U8", "[9223372036854775807]", "[0,9223372036854775807]", 4),
                {"tensor \"w\"", "more than 2^62"});
  check_refused(with("U8", "[4611686018427387904]", "[0,4611686018427387904]", 4),
                {"tensor \"w\"", "truncated"});
}

TEST_CASE("safetensors: truncated data, trailing data, holes, overlaps") {
  check_refused(file_of(kTwo, 11), {"tensor \"b\"", "lie beyond the 11 bytes of data: truncated"});
  check_refused(file_of(kTwo, 0), {"tensor \"a\"", "truncated"});
  check_refused(file_of(kTwo, 13), {"1 bytes after the last tensor"});
  check_refused(file_of("{}", 1), {"1 bytes after the last tensor"});
  const auto two = [](const std::string& a, const std::string& b) {
    return file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a +
                       R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}",
                   9);
  };
  check_refused(two("[0,4]", "[5,9]"), {"tensor \"b\"", "a hole of 1 bytes"});
  check_refused(two("[1,5]", "[5,9]"), {"tensor \"a\"", "a hole of 1 bytes"});
  check_refused(two("[0,4]", "[3,7]"), {"tensor \"b\"", "overlap"});
  check_refused(two("[0,4]", "[0,4]"), {"tensor \"b\"", "overlap"});
  check_refused(two("[5,9]", "[3,7]"), {"tensor \"b\"", "a hole of 3 bytes"});
  // An empty tensor inside another.
  check_refused(file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                        R"("b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
                        4),
                {"tensor \"b\"", "overlap"});
}

// Whatever the bytes: read, or an Error that names the file.
TEST_CASE("safetensors: random damage is read or refused, never worse") {
  Folder folder;
  write_safetensors(folder.file("good"),
                    {{"first", zeros({2, 3}, DType::f32)},
                     {"second", zeros({5}, DType::u8)},
                     {"none", zeros({0}, DType::f64)}},
                    {{"vocab", "0a20"}});
  const std::string good = read_bytes(folder.file("good"));
  std::mt19937 random(1);
  const std::string path = folder.file("damaged");
  int read = 0, refused = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string bytes = good;
    for (unsigned change = 1 + random() % 4; change > 0 && !bytes.empty(); --change) {
      const size_t at = random() % bytes.size();
      switch (random() % 6) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
          break;
        case 2:
          bytes.erase(at, 1 + random() % 8);
          break;
        case 3:
          bytes.insert(at, 1, "0123456789[]{}\",:-"[random() % 18]);
          break;
        case 4:
          bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 64));
          break;
        default:
          bytes.resize(at);
      }
    }
    if (random() % 2 == 0 &&
        bytes.size() > 8) {  // make the length right again, so that damage reaches the JSON
      const size_t end = bytes.rfind('}');
      if (end != std::string::npos && end >= 8) bytes.replace(0, 8, little_endian(end - 7));
    }
    write_bytes(path, bytes);
    try {
      const SafetensorsFile file = SafetensorsFile::open(path);
      for (const std::string& name : file.names()) file.get(name);
      ++read;
    } catch (const Error& error) {
      if (std::string(error.what()).find(path) == std::string::npos) FAIL("no path in: " << error.what());
      ++refused;
    }
  }
  CHECK(read > 30);
  CHECK(refused > 1000);
}

TEST_CASE("safetensors: what cannot be written") {
  Folder folder;
  const std::string path = folder.file("f");
  const Tensor one = zeros({1}, DType::f32);
  check_message(message_of([&] {
                  write_safetensors(path, {{"w", one}, {"w", one}});
                }),
                {path, "\"w\" is given twice"});
  check_message(message_of([&] {
                  write_safetensors(path, {{"w", Tensor()}});
                }),
                {path, "\"w\" is undefined"});
  check_message(message_of([&] {
                  write_safetensors(path, {{"__metadata__", one}});
                }),
                {path, "__metadata__"});
  check_message(message_of([&] { write_safetensors(path, {{"", one}}); }), {path, "cannot be named"});
  check_message(message_of([&] { write_safetensors(path, {{"\xff", one}}); }), {path, "not UTF-8"});
  check_message(message_of([&] {
                  write_safetensors(path, {{"w", one}}, {{"k", "\xff"}});
                }),
                {path, "not UTF-8"});
  CHECK(folder.count() == 0);
  check_message(message_of([&] { write_safetensors(folder.file("no/such/folder"), {}); }),
                {folder.file("no/such/folder"), "No such file or directory"});
  check_message(message_of([&] { write_safetensors(folder.path.string(), {}); }), {"not a regular file"});
  check_message(message_of([] { write_safetensors("/dev/full", {}); }), {"/dev/full", "not a regular file"});
}

TEST_CASE("safetensors: a write that fails half way leaves the old file whole and nothing beside it") {
  Folder folder;
  const std::string path = folder.file("checkpoint");
  write_safetensors(path, {{"w", full({10}, 1, DType::f32)}});
  const std::string before = read_bytes(path);

  // Writing past this size fails as a full disk does.
  rlimit saved{};
  getrlimit(RLIMIT_FSIZE, &saved);
  const rlimit small{10000, saved.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = message_of([&path] {
    write_safetensors(path, {{"w", full({100000}, 2, DType::f32)}});
  });
  setrlimit(RLIMIT_FSIZE, &saved);
  std::signal(SIGXFSZ, handler);

  check_message(message, {path, "File too large", "unchanged"});
  CHECK(read_bytes(path) == before);
  CHECK(folder.count() == 1);
}

TEST_CASE("atomic file: the old content stays until commit, and goes on without it") {
  Folder folder;
  const std::string path = folder.file("f");
  write_file_atomically(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
    CHECK(read_bytes(path) == "old");
  }
  CHECK(read_bytes(path) == "old");
  CHECK(folder.count() == 1);
  AtomicFile file(path);
  file.write("new ");
  file.write("content");
  file.commit();
  CHECK(read_bytes(path) == "new content");
  CHECK(folder.count() == 1);
}

TEST_CASE("atomic file: what a killed writer left is taken over") {
  Folder folder;
  write_bytes(folder.file("f.tmp"), "much longer than what comes next");
  write_file_atomically(folder.file("f"), "short");
  CHECK(read_bytes(folder.file("f")) == "short");
  CHECK(folder.count() == 1);
}

TEST_CASE("atomic file: two writers at once are refused, one after the other are fine") {
  Folder folder;
  const std::string path = folder.file("f");
  {
    AtomicFile first(path);
    first.write("first");
    check_message(message_of([&path] { AtomicFile second(path); }), {path, "another process is writing"});
    first.commit();
    AtomicFile third(path);  // the first is done, though not destroyed
    third.write("third");
    CHECK(read_bytes(path) == "first");
    third.commit();
  }
  CHECK(read_bytes(path) == "third");
  CHECK(folder.count() == 1);
}

TEST_CASE("atomic file: a temporary file that is a link is not followed") {
  Folder folder;
  write_bytes(folder.file("precious"), "precious");
  fs::create_symlink(folder.file("precious"), folder.file("f.tmp"));
  CHECK_THROWS_AS(write_file_atomically(folder.file("f"), "x"), Error);
  CHECK(read_bytes(folder.file("precious")) == "precious");
}
