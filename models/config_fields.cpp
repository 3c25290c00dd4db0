// Reading and writing configurations with nlohmann::json.
#include "models/config_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/check.h"

namespace tandem {
namespace {

using nlohmann::json;

bool is_integer(const json& value) {
  return value.is_number_integer();
}

// Moves the value of `key` out of `from` into the field. Returns without effect if the key is absent.
template <class T>
void take(json& from, const std::string& model, const char* key, T& field, bool (*fits)(const json&)) {
  const auto found = from.find(key);
  if (found == from.end()) return;
  CHECK(fits(*found), "{}: configuration field {} has a value of the wrong type: {}", model, key,
        found->dump());
  field = found->get<T>();
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
    : model_(model), json_(std::make_unique<Json>(Json{json::parse(text, nullptr, false)})) {
  CHECK(json_->object.is_object(), "{}: the configuration is not a JSON object: {}", model, text);
  json_->object.erase("model");
}
FieldReader::~FieldReader() = default;

void FieldReader::operator()(const char* key, bool& field) {
  take(json_->object, model_, key, field, [](const json& value) { return value.is_boolean(); });
}
void FieldReader::operator()(const char* key, int64_t& field) {
  take(json_->object, model_, key, field, is_integer);
}
void FieldReader::operator()(const char* key, double& field) {
  take(json_->object, model_, key, field, [](const json& value) { return value.is_number(); });
}
void FieldReader::operator()(const char* key, std::string& field) {
  take(json_->object, model_, key, field, [](const json& value) { return value.is_string(); });
}
void FieldReader::operator()(const char* key, std::vector<int64_t>& field) {
  take(json_->object, model_, key, field, [](const json& value) {
    return value.is_array() && std::all_of(value.begin(), value.end(), is_integer);
  });
}
void FieldReader::operator()(const char* key, DType& field) {
  const auto found = json_->object.find(key);
  if (found == json_->object.end()) return;
  const std::string text = found->is_string() ? found->get<std::string>() : found->dump();
  CHECK(text == "f32" || text == "f64", "{}: dtype {} is not known; give f32 or f64", model_, text);
  field = text == "f64" ? DType::f64 : DType::f32;
  json_->object.erase(found);
}

void FieldReader::finish() const {
  CHECK(json_->object.empty(), "{}: unknown configuration field {}", model_,
        json_->object.empty() ? "" : json_->object.begin().key());
}

std::string model_of_config(const std::string& text) {
  const json parsed = json::parse(text, nullptr, false);
  if (!parsed.is_object()) return {};
  const auto found = parsed.find("model");
  return found != parsed.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace tandem
