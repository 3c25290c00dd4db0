// JSON from files and users: parsed within limits, so that no text exhausts stack or memory, and read with its types
// checked.
#pragma once
#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace tandem {

struct JsonLimits {
  int depth = 32;                   // objects and arrays within each other
  size_t bytes = size_t{16} << 20;  // of the text
};

// Parses a text. Every Error begins with `what`, such as "run.json" or "the model's configuration": it is not JSON, is
// nested too deeply or too long, or an object has a key twice.
nlohmann::json parse_json(std::string_view text, std::string_view what, JsonLimits limits = {});

// Returns the value as a T: bool, int64_t, double, std::string or std::vector<int64_t>. Empty: it is of another type, or
// is a number that a T cannot hold. Whole numbers pass as double.
template <class T>
std::optional<T> json_as(const nlohmann::json& value);

// Returns the value of a key of an object. Error beginning with `what`: this is not an object, the key is absent, or
// its value is not a T, see json_as().
template <class T>
T json_field(const nlohmann::json& object, const char* key, std::string_view what);

// Returns the beginning of a value's text for an error message, on one line (printable_start() in core/utf8.h).
std::string json_start(const nlohmann::json& value);

}  // namespace tandem
