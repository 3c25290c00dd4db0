// Golden numbers, that reference implementations computed: the files in tests/golden/, and their tensors.
#pragma once
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "core/safetensors.h"

namespace tandem::testing {

// golden_path("srupp/text.bin").
inline std::string golden_path(const std::string& name) {
  return std::string(TANDEM_TEST_DIR) + "/golden/" + name;
}

inline nlohmann::json golden_json(const std::string& name) {
  std::ifstream file(golden_path(name));
  return nlohmann::json::parse(file);
}

// golden("ops/outputs", "gelu.erf.y"): floating tensors as f64, ids (i64 in the files) as i32.
inline Tensor golden(const std::string& file, const std::string& name) {
  const Tensor x = SafetensorsFile::open(golden_path(file + ".safetensors")).get(name);
  if (is_floating(x.dtype())) return x.to(DType::f64);
  return x.dtype() == DType::i64 ? x.to(DType::i32) : x;
}

}  // namespace tandem::testing
