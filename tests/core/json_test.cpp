// JSON from outside: limits of depth and length, double keys, and fields of the wrong type.
#include "tandem/core/json.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/errors.h"
#include "tests/support/processor_time.h"

namespace tandem::testing {
namespace {

std::string nested(int depth) {
  return std::string(depth, '[') + std::string(depth, ']');
}

std::string object_of(int members) {
  std::string text = "{";
  for (int i = 0; i < members; ++i)
    text += (i > 0 ? ",\"" : "\"") + std::to_string(i) + R"(":{"a":[1,2],"b":{"c":null}})";
  return text + "}";
}

}  // namespace

TEST_CASE("json: what the library reads is read as the library reads it") {
  for (const char* text : {R"({"a":[1,-2,3.5,true,false,null,"t\u00e4\n"],"b":{},"c":[[],{"d":[{}]}]})", "3",
                           "\"s\"", "[]", " {} ", "18446744073709551615"})
    CHECK(parse_json(text, "text") == nlohmann::json::parse(text));
}

TEST_CASE("json: a text that is nested too deeply or is too long is refused") {
  CHECK(parse_json(nested(32), "run.json").is_array());
  CHECK(contains(error_of([] { parse_json(nested(33), "run.json"); }), "run.json: nested more than 32 deep"));
  for (const int depth : {20'000, 1'000'000}) {
    CHECK(contains(error_of([depth] { parse_json(nested(depth), "f"); }), "nested more than 32 deep"));
    CHECK(contains(error_of([depth] { parse_json(std::string(depth, '['), "f"); }), "nested more than 32"));
  }
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  CHECK(contains(error_of([&objects] { parse_json(objects, "f"); }), "nested more than 32 deep"));
  CHECK(contains(error_of([] { parse_json("[1, 2]", "f", {.bytes = 5}); }), "f: 6 B of JSON are too long"));
}

TEST_CASE("json: a key that occurs twice in an object is refused") {
  CHECK(contains(error_of([] { parse_json(R"({"d":1,"d":2})", "config"); }), "config: \"d\" occurs twice"));
  CHECK(contains(error_of([] { parse_json(R"({"d":1,"\u0064":2})", "config"); }), "\"d\" occurs twice"));
  CHECK(parse_json(R"({"a":{"d":1},"d":{"d":2}})", "config").size() == 2);
}

TEST_CASE("json: the message about a bad text names it, is short, and holds no control characters") {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("nul"), std::string("{\"a\":1}x"), std::string("1e999"),
        "\"" + std::string(1 << 20, 'x'), std::string("\"\x1b[2J\""), std::string("\"\xff\"")}) {
    const std::string message = error_of([&text] { parse_json(text, "run.json"); });
    CHECK(contains(message, "run.json is not JSON: "));
    CHECK(message.size() < 500);
    CHECK(message.find('\x1b') == std::string::npos);
  }
}

TEST_CASE("json: fields are read by their types, and the message about another names key and value") {
  const nlohmann::json object = parse_json(
      R"({"i":-3,"u":9223372036854775808,"f":2.5,"b":true,"s":"text","v":[1,2],"w":[1,2.5]})", "f");
  CHECK(json_field<int64_t>(object, "i", "f") == -3);
  CHECK(json_field<double>(object, "i", "f") == -3);
  CHECK(json_field<double>(object, "f", "f") == 2.5);
  CHECK(json_field<bool>(object, "b", "f"));
  CHECK(json_field<std::string>(object, "s", "f") == "text");
  CHECK(json_field<std::vector<int64_t>>(object, "v", "f") == std::vector<int64_t>{1, 2});
  CHECK(error_of([&] { json_field<int64_t>(object, "x", "f"); }) == "f: the field \"x\" is missing");
  for (const char* key : {"u", "f", "b", "s", "v"})
    CHECK(contains(error_of([&] { json_field<int64_t>(object, key, "f"); }),
                   "f: the field \"" + std::string(key) + "\" has a value of the wrong type or size: "));
  CHECK(contains(error_of([&] { json_field<bool>(object, "i", "f"); }), "-3"));
  CHECK(contains(error_of([&] { json_field<double>(object, "s", "f"); }), "\"text\""));
  CHECK(contains(error_of([&] { json_field<std::vector<int64_t>>(object, "w", "f"); }), "[1,2.5]"));
  CHECK(contains(error_of([] { json_field<bool>(nlohmann::json(3), "x", "f"); }), "f: 3 is not an object"));
}

TEST_CASE("json: the time to parse an object grows with its members, not with their square") {
  const auto parsing = [](int members) {
    return [members, text = object_of(members)] {
      CHECK(parse_json(text, "text").size() == static_cast<size_t>(members));
    };
  };
  CHECK(grows_linearly(parsing, 20'000));
}

}  // namespace tandem::testing
