// A model's configuration as JSON text, as checkpoints keep it. A configuration lists its fields once; the
// list serves reading and writing.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tandem/core/dtype.h"

namespace tandem {

struct TokenConfig;

// Is called once for each field of a configuration, with the field's JSON key.
class Fields {
 public:
  virtual ~Fields() = default;
  virtual void operator()(const char* key, bool& field) = 0;
  virtual void operator()(const char* key, int64_t& field) = 0;
  virtual void operator()(const char* key, double& field) = 0;
  virtual void operator()(const char* key, std::string& field) = 0;
  virtual void operator()(const char* key, std::vector<int64_t>& field) = 0;
  virtual void operator()(const char* key, DType& field) = 0;
};

// Writes fields as JSON, after "model": `model`. Error: a text that is not UTF-8.
class FieldWriter : public Fields {
 public:
  explicit FieldWriter(const std::string& model);
  ~FieldWriter() override;
  void operator()(const char* key, bool& field) override;
  void operator()(const char* key, int64_t& field) override;
  void operator()(const char* key, double& field) override;
  void operator()(const char* key, std::string& field) override;
  void operator()(const char* key, std::vector<int64_t>& field) override;
  void operator()(const char* key, DType& field) override;
  std::string text() const;

 private:
  struct Json;  // the JSON library's header is slow to compile
  std::unique_ptr<Json> json_;
};

// Reads fields from JSON. A field whose key is absent keeps its value. Errors name `model`.
class FieldReader : public Fields {
 public:
  // Error: the text is not a JSON object, or is nested too deeply or too long (core/json.h).
  FieldReader(const std::string& model, const std::string& text);
  ~FieldReader() override;
  // Error: a value of the wrong type; an integer beyond 2^30; a dtype other than f32 and f64.
  void operator()(const char* key, bool& field) override;
  void operator()(const char* key, int64_t& field) override;
  void operator()(const char* key, double& field) override;
  void operator()(const char* key, std::string& field) override;
  void operator()(const char* key, std::vector<int64_t>& field) override;
  void operator()(const char* key, DType& field) override;
  // Error: the text has a key that was not read.
  void finish() const;

 private:
  struct Json;
  std::string model_;
  std::unique_ptr<Json> json_;
};

// Returns the value of the key "model". Empty: the text is not a JSON object, or has no such string. Error: it is not
// JSON (core/json.h).
std::string model_of_config(const std::string& text);

// Gives a configuration C its text() and from_text(). C provides
//     std::string model_name() const;      the model's name in the registry
//     void fields(Fields& field);          field("d", d); field("layers", layers); ...
// and of(), if it serves several models with different defaults.
template <class C, class Base = TokenConfig>
struct Configured : Base {
  // Returns JSON with the fields in their order. The device is not part of it.
  std::string text() const {
    C copy = static_cast<const C&>(*this);
    FieldWriter writer(copy.model_name());
    copy.fields(writer);
    return writer.text();
  }

  // Absent fields keep their defaults. Error naming the model: the text is not a JSON object, has an
  // unknown field or a value of the wrong type.
  static C from_text(const std::string& text) {
    C config = C::of(model_of_config(text));
    FieldReader reader(config.model_name(), text);
    config.fields(reader);
    reader.finish();
    return config;
  }

  // Returns the defaults of a model; of C's own model if the name is empty.
  static C of(const std::string& /*model*/) { return C(); }
};

}  // namespace tandem
