// Reading and writing configurations with nlohmann::json.
#include "tandem/models/config_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "tandem/core/check.h"
#include "tandem/core/json.h"
#include "tandem/core/utf8.h"

namespace tandem {
namespace {

using nlohmann::json;

// Sizes beyond it, in either direction, are refused, so that sums and products of a few of them do not overflow.
constexpr int64_t kLargestSize = int64_t{1} << 30;

bool fits(int64_t value) {
  return value >= -kLargestSize && value <= kLargestSize;
}

bool fits(const std::vector<int64_t>& values) {
  return std::all_of(values.begin(), values.end(), [](int64_t value) { return fits(value); });
}

template <class T>
bool fits(const T&) {
  return true;
}

// Moves the value of `key` out of `from` into the field. Returns without effect if the key is absent.
template <class T>
void take(json& from, const std::string& model, const char* key, T& field) {
  const auto found = from.find(key);
  if (found == from.end()) return;
  std::optional<T> value = json_as<T>(*found);
  TANDEM_CHECK(value, "{}: configuration field {} has a value of the wrong type: {}", model, key,
               json_start(*found));
  TANDEM_CHECK(fits(*value), "{}: configuration field {} is {}; numbers go up to {}", model, key,
               json_start(*found), kLargestSize);
  field = *std::move(value);
  from.erase(found);
}

}  // namespace

struct FieldWriter::Json {
  nlohmann::ordered_json object;
};

FieldWriter::FieldWriter(const std::string& model) : json_(std::make_unique<Json>()) {
  json_->object["model"] = model;
}
FieldWriter::~FieldWriter() = default;

void FieldWriter::operator()(const char* key, bool& field) {
  json_->object[key] = field;
}
void FieldWriter::operator()(const char* key, int64_t& field) {
  json_->object[key] = field;
}
void FieldWriter::operator()(const char* key, double& field) {
  json_->object[key] = field;
}
void FieldWriter::operator()(const char* key, std::string& field) {
  TANDEM_CHECK(is_utf8(field), "configuration field {} is not UTF-8: {}", key, printable_start(field));
  json_->object[key] = field;
}
void FieldWriter::operator()(const char* key, std::vector<int64_t>& field) {
  json_->object[key] = field;
}
void FieldWriter::operator()(const char* key, DType& field) {
  json_->object[key] = std::string(name_of(field));
}

std::string FieldWriter::text() const {
  return json_->object.dump();
}

struct FieldReader::Json {
  json object;
};

FieldReader::FieldReader(const std::string& model, const std::string& text)
    : model_(model), json_(std::make_unique<Json>(Json{parse_json(text, model + ": the configuration")})) {
  TANDEM_CHECK(json_->object.is_object(), "{}: the configuration is not a JSON object: {}", model,
               printable_start(text));
  json_->object.erase("model");
}
FieldReader::~FieldReader() = default;

void FieldReader::operator()(const char* key, bool& field) {
  take(json_->object, model_, key, field);
}
void FieldReader::operator()(const char* key, int64_t& field) {
  take(json_->object, model_, key, field);
}
void FieldReader::operator()(const char* key, double& field) {
  take(json_->object, model_, key, field);
}
void FieldReader::operator()(const char* key, std::string& field) {
  take(json_->object, model_, key, field);
}
void FieldReader::operator()(const char* key, std::vector<int64_t>& field) {
  take(json_->object, model_, key, field);
}
void FieldReader::operator()(const char* key, DType& field) {
  const auto found = json_->object.find(key);
  if (found == json_->object.end()) return;
  const std::string text = json_as<std::string>(*found).value_or(json_start(*found));
  TANDEM_CHECK(text == "f32" || text == "f64", "{}: dtype {} is not known; give f32 or f64", model_,
               printable_start(text));
  field = text == "f64" ? DType::f64 : DType::f32;
  json_->object.erase(found);
}

void FieldReader::finish() const {
  TANDEM_CHECK(json_->object.empty(), "{}: unknown configuration field {}", model_,
               json_->object.empty() ? "" : printable_start(json_->object.begin().key()));
}

std::string model_of_config(const std::string& text) {
  const json parsed = parse_json(text, "the model's configuration");
  if (!parsed.is_object()) return {};
  const auto found = parsed.find("model");
  return found == parsed.end() ? std::string() : json_as<std::string>(*found).value_or("");
}

}  // namespace tandem
