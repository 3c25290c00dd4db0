// Reading golden numbers.
#include "tests/support/golden.h"
#include "tests/support/paths.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "tandem/core/safetensors.h"

namespace tandem::testing {

std::string golden_path(const std::string& name) {
  return test_dir() + "/golden/" + name;
}

nlohmann::json golden_json(const std::string& name) {
  std::ifstream file(golden_path(name));
  return nlohmann::json::parse(file);
}

Tensor golden(const std::string& file, const std::string& name) {
  const Tensor x = SafetensorsFile::open(golden_path(file + ".safetensors")).get(name);
  if (is_floating(x.dtype())) return x.to(DType::f64);
  return x.dtype() == DType::i64 ? x.to(DType::i32) : x;
}

}  // namespace tandem::testing
