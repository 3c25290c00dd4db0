// Listing and loading parameters.
#include "tandem/models/module.h"

#include "tandem/autograd/leaf.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/utf8.h"
#include "tandem/models/tensor_index.h"

namespace tandem {

Tensor Module::add_parameter(std::string name, const Tensor& value) {
  own_.push_back({std::move(name), requires_grad(value)});
  return value;
}

void Module::add_child(std::string name, Module& child) {
  children_.emplace_back(std::move(name), &child);
}

std::vector<NamedTensor> Module::parameters() const {
  std::vector<NamedTensor> all;
  collect("", all);
  return all;
}

void Module::collect(const std::string& prefix, std::vector<NamedTensor>& into) const {
  for (const NamedTensor& parameter : own_) into.push_back({prefix + parameter.name, parameter.value});
  for (const auto& [name, child] : children_) child->collect(prefix + name + ".", into);
}

int64_t Module::parameter_count() const {
  int64_t count = 0;
  for (const NamedTensor& parameter : parameters()) count += parameter.value.numel();
  return count;
}

void Module::load(const std::vector<NamedTensor>& values) {
  const TensorIndex given(values, "load");
  const std::vector<NamedTensor> own = parameters();
  for (const NamedTensor& parameter : own) {
    const Tensor value = given.find(parameter.name);
    TANDEM_CHECK(value.defined(), "load: no value for parameter {}, {}", parameter.name,
                 parameter.value.summary());
    TANDEM_CHECK(value.shape() == parameter.value.shape(), "load: parameter {} is {}, the value given is {}",
                 parameter.name, parameter.value.summary(), value.summary());
  }
  const TensorIndex known(own, "load");
  for (const NamedTensor& value : values)
    TANDEM_CHECK(known.has(value.name), "load: {} values for {} parameters; this model has no {}",
                 values.size(), own.size(), printable_start(value.name));
  for (const NamedTensor& parameter : own) copy(parameter.value, given.find(parameter.name));
}

}  // namespace tandem
