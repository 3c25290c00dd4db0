// Collects the values that a call offers to a tap, by name.
#pragma once
#include <functional>
#include <map>
#include <string>

#include "tandem/core/tap.h"

namespace tandem::testing {

using Heard = std::map<std::string, Tensor>;

// Runs f and returns what it offered, in f64 on the CPU.
inline Heard heard_from(const std::function<void()>& f) {
  Heard all;
  const Tap tap([&all](const std::string& name, const Tensor& value) {
    all[name] = value.to(Device::cpu()).to(DType::f64).clone();
  });
  f();
  return all;
}

}  // namespace tandem::testing
