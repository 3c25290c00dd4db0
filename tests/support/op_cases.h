// The table of operator cases: inputs and a naive reference for each, which op_cases_test.cpp puts through
// every check that all operators share (values, gradients, dtypes, threads, repeatability). See
// ops/README.md.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"
#include "tests/support/max_difference.h"

namespace tandem::testing {

using Tensors = std::vector<Tensor>;

struct OpCase {
  std::string op;    // the operator's file in ops/, such as "softmax"
  std::string name;  // what this case varies, such as "3x65 masked"
  // Floating inputs in the dtype asked for (f32 or f64), ids and targets in i32. The same seed gives the same
  // values.
  std::function<Tensors(DType, uint64_t seed)> inputs;
  // The operator under test: it must use the tensors it is given and nothing random of its own.
  std::function<Tensors(const Tensors&)> run;
  // The definition by naive loops: f64 in, f64 out, one output for each of run's. May use no operator under
  // test.
  std::function<Tensors(const Tensors&)> reference;
  // Largest |f32 - f64| / largest |f64| per tensor, of outputs and of gradients.
  double tolerance_f32 = 1e-5;
  double gradient_tolerance_f32 = 1e-4;
  double gradcheck_tolerance = 1e-6;
  std::vector<int> weights = {};  // inputs that stay f32 where the others are bf16
  double tolerance_bf16 = 2e-2;  // on a GPU, of outputs and gradients, against f64 on the same rounded inputs
  int64_t gradcheck_elements = 64;  // of each input, spread evenly; 0 checks all
  bool differentiable = true;       // false: no gradient exists, checks of it are left out
};

inline std::vector<OpCase>& op_cases() {
  static std::vector<OpCase> cases;
  return cases;
}

inline void add_op_case(OpCase op_case) {
  op_cases().push_back(std::move(op_case));
}

// Uniform values in [lo, hi), exact in f32, so that every dtype gets the same ones.
inline Tensor random_tensor(Shape shape, DType dtype, uint64_t seed, double lo = -1, double hi = 1) {
  Tensor x(shape, DType::f64);
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 0x2545F4914F6CDD1Du;
  for (double& value : x.span<double>()) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double unit = static_cast<double>(state >> 40) * 0x1p-24;
    value = static_cast<double>(static_cast<float>(lo + (hi - lo) * unit));
  }
  return x.to(dtype);
}

// Ids in 0..count-1, i32.
inline Tensor random_ids(Shape shape, int64_t count, uint64_t seed) {
  const Tensor unit = random_tensor(shape, DType::f64, seed, 0, 1);
  Tensor ids(shape, DType::i32);
  for (int64_t i = 0; i < ids.numel(); ++i)
    ids.data<int32_t>()[i] = static_cast<int32_t>(unit.data<double>()[i] * static_cast<double>(count)) %
                             static_cast<int32_t>(count);
  return ids;
}

// A tensor made element by element: f(flat index) -> double. For references, and for inputs with a pattern.
inline Tensor tensor_from(Shape shape, const std::function<double(int64_t)>& f) {
  Tensor y(shape, DType::f64);
  for (int64_t i = 0; i < y.numel(); ++i) y.data<double>()[i] = f(i);
  return y;
}

}  // namespace tandem::testing

// OP_CASES(softmax) { add_op_case({...}); add_op_case({...}); }  once per test file: fills the table before
// main().
#define OP_CASES(name)                                                                          \
  static void op_cases_of_##name();                                                             \
  [[maybe_unused]] static const bool op_cases_of_##name##_added = (op_cases_of_##name(), true); \
  static void op_cases_of_##name()
