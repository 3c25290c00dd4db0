// Configurations as JSON.
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

}  // namespace

FieldWriter::FieldWriter(const std::string& model) : json_(std::make_unique<nlohmann::ordered_json>()) {
  (*json_)["model"] = model;
}
FieldWriter::~FieldWriter() = default;

void FieldWriter::operator()(const char* name, bool field) {
  (*json_)[name] = field;
}
void FieldWriter::operator()(const char* name, int64_t field) {
  (*json_)[name] = field;
}
void FieldWriter::operator()(const char* name, double field) {
  (*json_)[name] = field;
}
void FieldWriter::operator()(const char* name, const std::string& field) {
  (*json_)[name] = field;
}
void FieldWriter::operator()(const char* name, const std::vector<int64_t>& field) {
  (*json_)[name] = field;
}
void FieldWriter::operator()(const char* name, DType dtype) {
  (*json_)[name] = std::string(name_of(dtype));
}

std::string FieldWriter::text() const {
  return json_->dump();
}

FieldReader::FieldReader(const std::string& model, const std::string& text)
    : model_(model), json_(std::make_unique<json>(json::parse(text, nullptr, false))) {
  CHECK(json_->is_object(), "{}: the configuration is not a JSON object: {}", model, text);
  json_->erase("model");
}
FieldReader::~FieldReader() = default;

template <class T>
void FieldReader::read(const char* name, T& field, bool (*fits)(const json&)) {
  const auto found = json_->find(name);
  if (found == json_->end()) return;
  CHECK(fits(*found), "{}: configuration field {} has a value of the wrong type: {}", model_, name,
        found->dump());
  field = found->get<T>();
  json_->erase(found);
}

void FieldReader::operator()(const char* name, bool& field) {
  read(name, field, [](const json& value) { return value.is_boolean(); });
}
void FieldReader::operator()(const char* name, int64_t& field) {
  read(name, field, is_integer);
}
void FieldReader::operator()(const char* name, double& field) {
  read(name, field, [](const json& value) { return value.is_number(); });
}
void FieldReader::operator()(const char* name, std::string& field) {
  read(name, field, [](const json& value) { return value.is_string(); });
}
void FieldReader::operator()(const char* name, std::vector<int64_t>& field) {
  read(name, field, [](const json& value) {
    return value.is_array() && std::all_of(value.begin(), value.end(), is_integer);
  });
}
void FieldReader::operator()(const char* name, DType& dtype) {
  const auto found = json_->find(name);
  if (found == json_->end()) return;
  const std::string text = found->is_string() ? found->get<std::string>() : found->dump();
  CHECK(text == "f32" || text == "f64", "{}: dtype {} is not known; give f32 or f64", model_, text);
  dtype = text == "f64" ? DType::f64 : DType::f32;
  json_->erase(found);
}

void FieldReader::finish() const {
  CHECK(json_->empty(), "{}: unknown configuration field {}", model_,
        json_->empty() ? "" : json_->begin().key());
}

std::string model_of_config(const std::string& text) {
  const json parsed = json::parse(text, nullptr, false);
  if (!parsed.is_object()) return {};
  const auto found = parsed.find("model");
  return found != parsed.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace tandem
