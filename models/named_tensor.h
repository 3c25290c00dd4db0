// A tensor and its name: how parameters, optimizer state and carried state are listed, saved and loaded.
#pragma once
#include <string>
#include <vector>

#include "core/tensor.h"

namespace tandem {

struct NamedTensor {
  std::string name;
  Tensor value;
};

}  // namespace tandem
