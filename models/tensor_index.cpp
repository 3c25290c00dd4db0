// Named tensors by name.
#include "tandem/models/tensor_index.h"

#include "tandem/core/check.h"
#include "tandem/core/utf8.h"

namespace tandem {

TensorIndex::TensorIndex(const std::vector<NamedTensor>& tensors, std::string_view what) {
  by_name_.reserve(tensors.size());
  for (const NamedTensor& tensor : tensors)
    TANDEM_CHECK(by_name_.emplace(tensor.name, &tensor.value).second, "{}: the tensor {} is given twice",
                 what, printable_start(tensor.name));
}

Tensor TensorIndex::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? Tensor() : *found->second;
}

}  // namespace tandem
