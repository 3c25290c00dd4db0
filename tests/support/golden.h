// Golden numbers, that reference implementations computed: the files in tests/golden/, and their tensors.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "tandem/core/tensor.h"

namespace tandem::testing {

// golden_path("srupp/text.bin").
std::string golden_path(const std::string& name);

// Returns the JSON of a file. The caller includes nlohmann/json.hpp, which is slow to compile.
nlohmann::json golden_json(const std::string& name);

// golden("ops/outputs", "gelu.erf.y"): floating tensors as f64, ids (i64 in the files) as i32.
Tensor golden(const std::string& file, const std::string& name);

}  // namespace tandem::testing
