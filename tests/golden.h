// Golden numbers: tensors that reference implementations computed, from the safetensors files in
// tests/golden/.
#pragma once
#include <string>

#include "core/safetensors.h"

namespace tandem::testing {

// golden("ops/outputs", "gelu.erf.y"): floating tensors as f64, ids (i64 in the files) as i32.
inline Tensor golden(const std::string& file, const std::string& name) {
  const Tensor x =
      SafetensorsFile::open(std::string(TANDEM_TEST_DIR) + "/golden/" + file + ".safetensors").get(name);
  if (is_floating(x.dtype())) return x.to(DType::f64);
  return x.dtype() == DType::i64 ? x.to(DType::i32) : x;
}

}  // namespace tandem::testing
