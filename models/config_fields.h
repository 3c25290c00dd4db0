// Reading and writing a model's configuration as JSON text: one list of fields serves both. For .cpp files of
// models.
#pragma once
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/dtype.h"

namespace tandem {

// A configuration C names its fields once, in `template <class V> void visit(V&& v, C& c)`, with v("name",
// c.field).
class FieldWriter {
 public:
  explicit FieldWriter(const std::string& model) { json_["model"] = model; }
  template <class T>
  void operator()(const char* name, const T& field) {
    json_[name] = field;
  }
  void operator()(const char* name, DType dtype) { json_[name] = std::string(name_of(dtype)); }
  std::string text() const { return json_.dump(); }

 private:
  nlohmann::ordered_json json_;
};

class FieldReader {
 public:
  FieldReader(const std::string& model, const std::string& text) : model_(model) {
    json_ = nlohmann::json::parse(text, nullptr, false);
    CHECK(json_.is_object(), "{}: the configuration is not a JSON object: {}", model, text);
    json_.erase("model");
  }
  template <class T>
  void operator()(const char* name, T& field) {
    const auto found = json_.find(name);
    if (found == json_.end()) return;
    CHECK(fits<T>(*found), "{}: configuration field {} has a value of the wrong type: {}", model_, name,
          found->dump());
    field = found->get<T>();
    json_.erase(found);
  }
  void operator()(const char* name, DType& dtype) {
    const auto found = json_.find(name);
    if (found == json_.end()) return;
    const std::string text = found->is_string() ? found->get<std::string>() : found->dump();
    CHECK(text == "f32" || text == "f64", "{}: dtype {} is not known; give f32 or f64", model_, text);
    dtype = text == "f64" ? DType::f64 : DType::f32;
    json_.erase(found);
  }
  // Error: a field that nobody asked for.
  void finish() const {
    CHECK(json_.empty(), "{}: unknown configuration field {}", model_,
          json_.empty() ? "" : json_.begin().key());
  }

 private:
  template <class T>
  static bool fits(const nlohmann::json& value) {
    if constexpr (std::is_same_v<T, bool>) {
      return value.is_boolean();
    } else if constexpr (std::is_same_v<T, std::string>) {
      return value.is_string();
    } else if constexpr (std::is_same_v<T, std::vector<int64_t>>) {
      return value.is_array() && std::all_of(value.begin(), value.end(), fits<int64_t>);
    } else {
      return std::is_integral_v<T> ? value.is_number_integer() : value.is_number();
    }
  }

  std::string model_;
  nlohmann::json json_;
};

// The fields of TokenConfig.
template <class Visitor, class Config>
void visit_tokens(Visitor& v, Config& c) {
  v("vocabulary", c.vocabulary);
  v("tied", c.tied);
  v("cutoffs", c.cutoffs);
  v("band_width", c.band_width);
  v("band_divisor", c.band_divisor);
  v("adaptive", c.adaptive);
  v("tied_projections", c.tied_projections);
  v("band_dropout", c.band_dropout);
  v("dtype", c.dtype);
}

}  // namespace tandem
