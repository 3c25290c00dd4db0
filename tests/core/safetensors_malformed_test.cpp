// Safetensors files that must be refused: malformed headers, data that do not fit, random damage.
#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <random>
#include <string>

#include "tandem/core/safetensors.h"
#include "tests/support/digest_verification.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/safetensors_bytes.h"

namespace tandem::testing {
namespace {

// Checks that opening these bytes is an error whose message names the file and contains all the parts.
void check_refused(const std::string& bytes, std::initializer_list<std::string> parts) {
  const TempDir folder;
  const std::string path = folder / "bad.safetensors";
  write_text(path, bytes);
  const std::string message = error_of([&path] { SafetensorsFile::open(path); });
  check_message(message, {path});
  check_message(message, parts);
}

const std::string kTwo =
    R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"I32","shape":[1,2],"data_offsets":[4,12]}})";

}  // namespace

TEST_CASE("safetensors: the good file from which the bad ones are made is read") {
  const TempDir folder;
  write_text(folder / "f", file_of(kTwo, 12));
  const SafetensorsFile file = SafetensorsFile::open(folder / "f");
  CHECK(file.get("b", DType::i32, {1, 2}).to_vector<int32_t>() ==
        std::vector<int32_t>{0x07060504, 0x0b0a0908});
}

TEST_CASE("safetensors: a bad header length is refused") {
  check_refused("", {"0 bytes are too few"});
  check_refused("1234567", {"7 bytes are too few"});
  check_refused(little_endian(1), {"header length is 1, but 0 bytes follow"});
  for (uint64_t length :
       {uint64_t{200}, uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}, ~uint64_t{0} - 7})
    check_refused(little_endian(length) + "{}", {"header length is " + std::to_string(length)});
}

TEST_CASE("safetensors: a header beyond 100 MB is refused before it is read") {
  const TempDir folder;
  const std::string path = folder / "long";
  write_text(path, little_endian(100'000'001) + "{}");
  std::filesystem::resize_file(path, 200'000'000);  // sparse
  check_message(error_of([&path] { SafetensorsFile::open(path); }), {path, "100000000 are allowed"});
}

TEST_CASE("safetensors: a header that is not JSON, or of another structure, is refused") {
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

TEST_CASE("safetensors: metadata that is not an object of texts is refused") {
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

TEST_CASE("safetensors: a dtype that is not supported is refused") {
  for (const char* dtype : {"F16", "f32", "BOOL", "I8", "", "F32 "})
    check_refused(
        file_of("{\"w\":{\"dtype\":\"" + std::string(dtype) + R"(","shape":[1],"data_offsets":[0,4]}})", 4),
        {"tensor \"w\"", "dtype \"" + std::string(dtype) + "\" is not one of F32 F64 BF16 I32 I64 U8"});
}

TEST_CASE("safetensors: a name that occurs twice is refused") {
  const std::string entry = R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  check_refused(file_of("{\"w\":" + entry + ",\"w\":" + entry + "}", 4), {"header: \"w\" occurs twice"});
  check_refused(file_of("{\"w\":" + entry + ",\"\\u0077\":" + entry + "}", 4),
                {"header: \"w\" occurs twice"});
  check_refused(file_of(R"({"__metadata__":{"k":"1","k":"2"}})", 0), {"\"k\" occurs twice"});
  check_refused(file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), {"\"__metadata__\" occurs twice"});
  check_refused(file_of(R"({"w":{"dtype":"U8","shape":[4],"shape":[2],"data_offsets":[0,4]}})", 4),
                {"\"shape\" occurs twice"});
}

TEST_CASE("safetensors: shape and offsets that do not fit are refused") {
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

TEST_CASE("safetensors: truncated and trailing data, holes and overlaps are refused") {
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

// Any bytes are either read or refused with an Error that names the file.
TEST_CASE("safetensors: files with random damage are read or refused") {
  const TempDir folder;
  write_safetensors(folder / "good",
                    {{"first", zeros({2, 3}, DType::f32)},
                     {"second", zeros({5}, DType::u8)},
                     {"none", zeros({0}, DType::f64)}},
                    {{"vocab", "0a20"}});
  const std::string good = read_text(folder / "good");
  std::mt19937 random(1);
  const std::string path = folder / "damaged";
  const DigestVerification off(false);  // so that damage reaches the parser
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
    write_text(path, bytes);
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

}  // namespace tandem::testing
