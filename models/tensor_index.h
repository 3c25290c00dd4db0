// TensorIndex: a list of named tensors by name, for lists as long as a file says.
#pragma once
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tandem/models/named_tensor.h"

namespace tandem {

class TensorIndex {
 public:
  // The list must outlive the index. Error, which begins with `what`: two tensors have one name.
  TensorIndex(const std::vector<NamedTensor>& tensors, std::string_view what);

  // Returns the tensor of that name; undefined if there is none.
  Tensor find(std::string_view name) const;
  bool has(std::string_view name) const { return by_name_.contains(name); }

 private:
  std::unordered_map<std::string_view, const Tensor*> by_name_;
};

}  // namespace tandem
