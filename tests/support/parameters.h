// Named tensors as tests of optimizers want them: parameters, random gradients, copies, comparison of bits.
#pragma once
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tandem/autograd/leaf.h"
#include "tandem/models/named_tensor.h"
#include "tests/support/give_gradient.h"
#include "tests/support/op_cases.h"
#include "tests/support/same_bits.h"

namespace tandem::testing {

inline std::vector<NamedTensor> cloned(const std::vector<NamedTensor>& tensors) {
  std::vector<NamedTensor> all;
  for (const NamedTensor& x : tensors) all.push_back({x.name, x.value.clone()});
  return all;
}

inline bool same_bits(const std::vector<NamedTensor>& a, const std::vector<NamedTensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const NamedTensor& x, const NamedTensor& y) {
    return x.name == y.name && same_bits(x.value, y.value);
  });
}

inline void random_gradients(const std::vector<NamedTensor>& parameters, uint64_t seed) {
  for (const auto& [name, value] : parameters)
    give_gradient(value, random_tensor(value.shape(), value.dtype(), seed++).to(value.device()));
}

// Returns parameters of a model that Muon moves in part: the first three, wide, tall and square.
inline std::vector<NamedTensor> mixed_parameters(DType dtype, Device device = Device::cpu()) {
  std::vector<NamedTensor> all;
  for (const auto& [name, shape] : {std::pair<std::string, Shape>{"layers.0.query.weight", {16, 33}},
                                    {"layers.0.output.weight", {70, 16}},
                                    {"layers.1.weight", {20, 20}},
                                    {"layers.0.query.filter", {4, 16}},
                                    {"layers.1.weight.narrow", {20, 15}},
                                    {"layers.0.bias", {48}},
                                    {"layers.1.alpha", {16, 16, 1}},
                                    {"embedding.weight", {40, 33}},
                                    {"output.layers.weight", {40, 33}}})
    all.push_back({name, requires_grad(random_tensor(shape, dtype, all.size() + 1).to(device))});
  return all;
}
inline constexpr size_t kByMuon = 3;

}  // namespace tandem::testing
