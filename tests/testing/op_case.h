// OpCase: an operator at one size, ready for the checks of check_operator.h: how to make inputs, how to run the operator
// and what it should give. Inputs are made by random_tensor(), random_ids() and tensor_from().
//
//     OpCase{.op = "softmax",
//            .name = "3x33",
//            .inputs = [](DType dtype, uint64_t seed) -> Tensors {
//              return {random_tensor({3, 33}, dtype, seed, -4, 4)};
//            },
//            .run = [](const Tensors& x) -> Tensors { return {softmax(x[0])}; },
//            .reference = [](const Tensors& x) -> Tensors { return {reference::softmax(x[0])}; }}
//
// Choose odd sizes such as 1, 3, 33 and 65, which leave a rest in every vector, warp and tile, and one that is large enough
// for several threads.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem::testing {

using Tensors = std::vector<Tensor>;

struct OpCase {
  std::string op;    // name of the operator, in Tandem that of its file in ops/, such as "softmax"
  std::string name;  // what this case varies, such as "3x65, masked"
  // Returns the inputs: floating ones in the dtype asked for (f32 or f64), ids and targets in i32. The same
  // seed gives the same values in every dtype.
  std::function<Tensors(DType, uint64_t seed)> inputs;
  // Runs the operator on the inputs, and nothing else that is random.
  std::function<Tensors(const Tensors&)> run;
  // Returns what run() should: f64 in, f64 out, by the definition in plain loops.
  std::function<Tensors(const Tensors&)> reference;

  // Largest |f32 - f64| / largest |f64| of each output, and of each gradient.
  double tolerance_f32 = 1e-5;
  double gradient_tolerance_f32 = 1e-4;
  double gradcheck_tolerance = 1e-6;
  std::vector<int> weights = {};  // indices of the inputs that stay f32 where the others are bf16
  double tolerance_bf16 = 2e-2;  // on a GPU, of outputs and gradients, against f64 on the same rounded inputs
  int64_t gradcheck_elements = 64;  // elements checked of each input, spread evenly; 0: all
  bool differentiable = true;       // false: there is no gradient, and its checks are left out
  bool has_gpu_kernel = true;       // false: check_operator() leaves out the checks on a GPU
};

// Returns uniform values in [lo, hi) that are exact in f32, so that every dtype gets the same ones.
Tensor random_tensor(Shape shape, DType dtype, uint64_t seed, double lo = -1, double hi = 1);
// Returns ids in 0 .. count - 1, i32.
Tensor random_ids(Shape shape, int64_t count, uint64_t seed);
// Returns an f64 tensor made element by element by f(index in row-major order), for references and patterned inputs.
Tensor tensor_from(Shape shape, const std::function<double(int64_t)>& f);

}  // namespace tandem::testing
