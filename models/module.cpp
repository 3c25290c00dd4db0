// Listing and loading parameters.
#include "models/module.h"

#include <map>

#include "autograd/leaf.h"
#include "core/array.h"
#include "core/check.h"

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
  std::map<std::string, Tensor> by_name;
  for (const NamedTensor& value : values) by_name[value.name] = value.value;
  const std::vector<NamedTensor> own = parameters();
  for (const NamedTensor& parameter : own) {
    const auto found = by_name.find(parameter.name);
    CHECK(found != by_name.end(), "load: no value for parameter {}, {}", parameter.name,
          parameter.value.str());
    CHECK(found->second.shape() == parameter.value.shape(), "load: parameter {} is {}, the value given is {}",
          parameter.name, parameter.value.str(), found->second.str());
  }
  CHECK(by_name.size() == own.size(), "load: {} values for {} parameters; this model has no {}",
        by_name.size(), own.size(), [&own, &by_name] {
          for (const NamedTensor& parameter : own) by_name.erase(parameter.name);
          return by_name.begin()->first;
        }());
  for (const NamedTensor& parameter : own) copy(parameter.value, by_name[parameter.name]);
}

}  // namespace tandem
