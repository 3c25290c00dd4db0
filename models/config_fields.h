// Reading and writing a model's configuration as JSON text: one list of fields serves both. For .cpp files of
// models. Apart from JSON itself, which is slow to compile.
#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace tandem {

// A configuration C names its fields once, in `template <class V> void visit(V&& v, C& c)`, with v("name",
// c.field).
class FieldWriter {
 public:
  explicit FieldWriter(const std::string& model);
  ~FieldWriter();
  void operator()(const char* name, bool field);
  void operator()(const char* name, int64_t field);
  void operator()(const char* name, double field);
  void operator()(const char* name, const std::string& field);
  void operator()(const char* name, const std::vector<int64_t>& field);
  void operator()(const char* name, DType dtype);
  std::string text() const;

 private:
  std::unique_ptr<nlohmann::ordered_json> json_;
};

// A field that the text does not have is left as it is. Error: one of another type.
class FieldReader {
 public:
  // Error naming `model`: the text is not a JSON object.
  FieldReader(const std::string& model, const std::string& text);
  ~FieldReader();
  void operator()(const char* name, bool& field);
  void operator()(const char* name, int64_t& field);
  void operator()(const char* name, double& field);
  void operator()(const char* name, std::string& field);
  void operator()(const char* name, std::vector<int64_t>& field);
  void operator()(const char* name, DType& dtype);
  // Error: a field that nobody asked for.
  void finish() const;

 private:
  template <class T>
  void read(const char* name, T& field, bool (*fits)(const nlohmann::json&));

  std::string model_;
  std::unique_ptr<nlohmann::json> json_;
};

// The field "model" of a configuration. Empty: the text is not a JSON object, or has no such text in it.
std::string model_of_config(const std::string& text);

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
