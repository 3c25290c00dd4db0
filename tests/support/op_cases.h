// The table of operator cases. A row says how to make inputs, how to run the operator and what it should give;
// every check that operators share runs over all rows. So one row of a new operator's test buys all of these:
//
//     op_cases_test.cpp         forward = the reference, in f64 and f32
//                               gradient = central differences in f64, against a random projection: with a plain sum of
//                                 the outputs, a backward of softmax that returned 0 would pass
//                               gradients in f32 = gradients in f64
//                               the same bits every time, with 1, 2 and 3 threads
//                               the same values with and without a tape; inputs are never written to
//                               the same gradients when only one input wants one, when the inputs are results of
//                                 other operators, and twice the gradients after two backward passes
//     cuda_operators_test.cpp   on a GPU, real or simulated: values and gradients = the CPU's, in f64 and f32
//                               bf16 = f64 on the same rounded values; gradient = central differences
//                               the same bits every time, in whatever order the threads of a block run
//
// A test file adds its rows with OP_CASES(name), before main() runs:
//
//     OP_CASES(softmax) {
//       for (const Shape& shape : {Shape{1}, Shape{3, 33}})
//         add_op_case({.op = "softmax",
//                      .name = shape.str(),
//                      .inputs = [shape](DType dtype, uint64_t seed) -> Tensors {
//                        return {random_tensor(shape, dtype, seed, -4, 4)};
//                      },
//                      .run = [](const Tensors& x) -> Tensors { return {softmax(x[0])}; },
//                      .reference = [](const Tensors& x) -> Tensors { return {reference::softmax(x[0])}; }});
//     }
//
// Choose odd sizes such as 1, 3, 33 and 65, which leave a rest in every vector, warp and tile, and one that is
// large enough for several threads. An operator without a row fails the first test of op_cases_test.cpp.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tandem/core/error.h"
#include "tandem/core/tensor.h"
#include "tests/support/max_difference.h"

namespace tandem::testing {

using Tensors = std::vector<Tensor>;

struct OpCase {
  std::string op;    // name of the operator's file in ops/, such as "softmax"
  std::string name;  // what this row varies, such as "3x65, masked"
  // Returns the inputs: floating ones in the dtype asked for (f32 or f64), ids and targets in i32. The same
  // seed gives the same values in every dtype.
  std::function<Tensors(DType, uint64_t seed)> inputs;
  // Runs the operator on the inputs, and nothing else that is random.
  std::function<Tensors(const Tensors&)> run;
  // Returns what run() should: f64 in, f64 out, by the plain loops of ops/reference/ or of the test itself.
  std::function<Tensors(const Tensors&)> reference;

  // Largest |f32 - f64| / largest |f64| of each output, and of each gradient.
  double tolerance_f32 = 1e-5;
  double gradient_tolerance_f32 = 1e-4;
  double gradcheck_tolerance = 1e-6;
  std::vector<int> weights = {};  // indices of the inputs that stay f32 where the others are bf16
  double tolerance_bf16 = 2e-2;  // on a GPU, of outputs and gradients, against f64 on the same rounded inputs
  int64_t gradcheck_elements = 64;  // elements checked of each input, spread evenly; 0: all
  bool differentiable = true;       // false: there is no gradient, and its checks are left out
};

inline std::vector<OpCase>& op_cases() {
  static std::vector<OpCase> cases;
  return cases;
}

inline void add_op_case(OpCase op_case) {
  op_cases().push_back(std::move(op_case));
}

// Returns uniform values in [lo, hi) that are exact in f32, so that every dtype gets the same ones.
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

// Returns ids in 0 .. count - 1, i32.
inline Tensor random_ids(Shape shape, int64_t count, uint64_t seed) {
  const Tensor unit = random_tensor(shape, DType::f64, seed, 0, 1);
  Tensor ids(shape, DType::i32);
  for (int64_t i = 0; i < ids.numel(); ++i)
    ids.data<int32_t>()[i] = static_cast<int32_t>(unit.data<double>()[i] * static_cast<double>(count)) %
                             static_cast<int32_t>(count);
  return ids;
}

// Returns a tensor made element by element by f(index in row-major order), for references and for patterned
// inputs.
inline Tensor tensor_from(Shape shape, const std::function<double(int64_t)>& f) {
  Tensor y(shape, DType::f64);
  for (int64_t i = 0; i < y.numel(); ++i) y.data<double>()[i] = f(i);
  return y;
}

}  // namespace tandem::testing

// Fills the table before main(). Use once for each name: OP_CASES(softmax) { add_op_case({...});
// add_op_case({...}); }
#define OP_CASES(name)                                                                          \
  static void op_cases_of_##name();                                                             \
  [[maybe_unused]] static const bool op_cases_of_##name##_added = (op_cases_of_##name(), true); \
  static void op_cases_of_##name()
