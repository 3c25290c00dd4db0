// Building JSON values under limits, and reading them.
#include "tandem/core/json.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "tandem/core/check.h"
#include "tandem/core/format.h"
#include "tandem/core/utf8.h"

namespace tandem {
namespace {

using nlohmann::json;

// Builds the value from the parser's events. The library's own builder has no limit of depth, and takes the last of two
// equal keys; with a callback, which could refuse both, it takes quadratic time.
class Builder : public nlohmann::json_sax<json> {
 public:
  Builder(std::string_view text, std::string_view what, int deepest)
      : text_(text), what_(what), deepest_(deepest) {}

  json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // no text has binary values
  bool start_object(std::size_t) override { return open(json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const auto [place, added] = open_.back()->get_ref<json::object_t&>().emplace(std::move(name), nullptr);
    TANDEM_CHECK(added, "{}: \"{}\" occurs twice in one object", what_, printable_start(place->first));
    member_ = &place->second;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const json::exception& error) override {
    detail::fail("{} is not JSON: {}; it begins with {}", what_, printable_start(error.what(), 250),
                 printable_start(text_, 50));
  }

 private:
  bool add(json value) {
    place(std::move(value));
    return true;
  }

  bool open(json value) {
    TANDEM_CHECK(static_cast<int>(open_.size()) < deepest_, "{}: nested more than {} deep", what_, deepest_);
    open_.push_back(place(std::move(value)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  // Returns where the value now lies. The address holds while it is open, since nothing is added beside it.
  json* place(json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    if (open_.back()->is_object()) return &(*member_ = std::move(value));
    return &open_.back()->get_ref<json::array_t&>().emplace_back(std::move(value));
  }

  std::string_view text_, what_;
  int deepest_;
  json root_;
  std::vector<json*> open_;  // the objects and arrays being read, outermost first
  json* member_ = nullptr;   // the value of the last key
};

}  // namespace

json parse_json(std::string_view text, std::string_view what, JsonLimits limits) {
  TANDEM_CHECK(text.size() <= limits.bytes, "{}: {} of JSON are too long; at most {} are read", what,
               bytes_text(text.size()), bytes_text(limits.bytes));
  Builder builder(text, what, limits.depth);
  json::sax_parse(text, &builder);
  return builder.take();
}

template <>
std::optional<bool> json_as<bool>(const json& value) {
  if (!value.is_boolean()) return std::nullopt;
  return value.get<bool>();
}

template <>
std::optional<int64_t> json_as<int64_t>(const json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) return std::nullopt;
  return value.get<int64_t>();
}

template <>
std::optional<double> json_as<double>(const json& value) {
  if (!value.is_number()) return std::nullopt;
  return value.get<double>();
}

template <>
std::optional<std::string> json_as<std::string>(const json& value) {
  if (!value.is_string()) return std::nullopt;
  return value.get<std::string>();
}

template <>
std::optional<std::vector<int64_t>> json_as<std::vector<int64_t>>(const json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<int64_t> numbers;
  for (const json& item : value) {
    const std::optional<int64_t> number = json_as<int64_t>(item);
    if (!number) return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

template <class T>
T json_field(const json& object, const char* key, std::string_view what) {
  TANDEM_CHECK(object.is_object(), "{}: {} is not an object", what, json_start(object));
  const auto found = object.find(key);
  TANDEM_CHECK(found != object.end(), "{}: the field \"{}\" is missing", what, key);
  std::optional<T> value = json_as<T>(*found);
  TANDEM_CHECK(value, "{}: the field \"{}\" has a value of the wrong type or size: {}", what, key,
               json_start(*found));
  return *std::move(value);
}

template bool json_field<bool>(const json&, const char*, std::string_view);
template int64_t json_field<int64_t>(const json&, const char*, std::string_view);
template double json_field<double>(const json&, const char*, std::string_view);
template std::string json_field<std::string>(const json&, const char*, std::string_view);
template std::vector<int64_t> json_field<std::vector<int64_t>>(const json&, const char*, std::string_view);

std::string json_start(const json& value) {
  return printable_start(value.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace));
}

}  // namespace tandem
