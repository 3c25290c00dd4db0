// Module: a part of a model that owns parameters and other modules, and lists them by name.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tandem/models/named_tensor.h"

namespace tandem {

class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;  // parents hold their children's addresses
  Module& operator=(const Module&) = delete;

  // Returns the module's own parameters, then its children's, in order of registration, by names such as
  // "layers.0.query.weight".
  std::vector<NamedTensor> parameters() const;
  int64_t parameter_count() const;

  // Copies values into the parameters, converting the dtype. Error naming the tensor: one is missing, one is
  // left over, two have one name, or a shape differs; no parameter is changed then.
  void load(const std::vector<NamedTensor>& values);

 protected:
  // Registers a tensor as a parameter that gets a gradient, and returns it.
  Tensor add_parameter(std::string name, const Tensor& value);
  void add_child(std::string name, Module& child);

 private:
  void collect(const std::string& prefix, std::vector<NamedTensor>& into) const;

  std::vector<NamedTensor> own_;
  std::vector<std::pair<std::string, Module*>> children_;
};

}  // namespace tandem
