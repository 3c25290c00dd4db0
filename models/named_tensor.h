// A tensor with a name: how parameters, optimizer state and carried state are listed, saved and loaded.
#pragma once
#include <string>
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem {

struct NamedTensor {
  std::string name;
  Tensor value;
};

// Returns the tensor of that name; undefined if there is none.
inline Tensor find_tensor(const std::vector<NamedTensor>& tensors, const std::string& name) {
  for (const NamedTensor& tensor : tensors)
    if (tensor.name == name) return tensor.value;
  return {};
}

}  // namespace tandem
