// The checks that every operator passes on a GPU, real or simulated: the cases of op_cases.h against the CPU in
// f64, f32 and bf16, the derivative in f64, and the same bits in whatever order threads run.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "tandem/autograd/gradcheck.h"
#include "tandem/core/random.h"
#include "tandem/ops/support/weight_cache.h"
#include "tests/support/devices.h"
#include "tests/support/run_op_case.h"
#ifdef TANDEM_CUDA_SIMULATED
#include "tandem/cuda/simulator/simulator.h"
#endif

namespace tandem::testing {
namespace {

// Returns whether there is a GPU to test on, and says so if there is none.
bool can_run() {
  if (has_cuda()) return true;
  MESSAGE("skipped: no GPU (", cuda_status().text, ")");
  return false;
}

Tensors moved(const Tensors& xs, Device device) {
  Tensors ys;
  for (const Tensor& x : xs) ys.push_back(x.defined() ? x.to(device) : x);
  return ys;
}

// Returns the inputs in bf16, except for weights, which stay f32.
Tensors rounded(const OpCase& op_case, const Tensors& xs) {
  Tensors ys;
  for (size_t i = 0; i < xs.size(); ++i) {
    const bool weight = std::count(op_case.weights.begin(), op_case.weights.end(), static_cast<int>(i)) > 0;
    ys.push_back(is_checked(xs[i]) && !weight ? xs[i].to(DType::bf16) : xs[i]);
  }
  return ys;
}

struct Tolerance {
  double value, gradient;
};

// Compares the case on the GPU with the CPU in f64 on the same values. The gradients of the outputs are the
// same too, rounded to the dtype of each output.
void check_parity(const OpCase& op_case, const Tensors& inputs, Tolerance tolerance) {
  const Result actual = differentiate(op_case, moved(inputs, Device::cuda()));
  const Result expected = differentiate(op_case, converted(inputs, DType::f64));
  REQUIRE(actual.outputs.size() == expected.outputs.size());
  for (size_t k = 0; k < actual.outputs.size(); ++k) {
    INFO("output ", k, ": ", actual.outputs[k].str());
    CHECK(actual.outputs[k].device() == Device::cuda());
    CHECK(relative_error(actual.outputs[k].to(Device::cpu()), expected.outputs[k]) <= tolerance.value);
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!is_checked(inputs[i])) continue;
    INFO("gradient of input ", i, ": ", inputs[i].str());
    REQUIRE(actual.gradients[i].defined() == expected.gradients[i].defined());
    if (!actual.gradients[i].defined()) continue;
    CHECK(actual.gradients[i].dtype() == inputs[i].dtype());
    CHECK(relative_error(actual.gradients[i].to(Device::cpu()), expected.gradients[i]) <= tolerance.gradient);
  }
}

}  // namespace

TEST_CASE("cuda: operators: values and gradients are the CPU's, in f64 and f32") {
  if (!can_run()) return;
  int cases = 0;
  std::set<std::string> operators;
  for_each_case([&cases, &operators](const OpCase& op_case) {
    check_parity(op_case, op_case.inputs(DType::f64, kSeed), {1e-10, 1e-9});
    check_parity(op_case, op_case.inputs(DType::f32, kSeed),
                 {op_case.tolerance_f32, op_case.gradient_tolerance_f32});
    operators.insert(op_case.op);
    ++cases;
  });
  MESSAGE(cases, " cases of ", operators.size(), " operators ran on ", cuda_status().text);
}

TEST_CASE("cuda: operators: bf16 is f64 on the same values, but for rounding") {
  if (!can_run()) return;
  for_each_case([](const OpCase& op_case) {
    const Tensors inputs = rounded(op_case, op_case.inputs(DType::f32, kSeed));
    check_parity(op_case, inputs, {op_case.tolerance_bf16, op_case.tolerance_bf16});
  });
}

TEST_CASE("cuda: operators: the gradient is the derivative (central differences in f64)") {
  if (!can_run()) return;
  for_each_case([](const OpCase& op_case) {
    if (!op_case.differentiable) return;
    GradcheckOptions options;
    options.tolerance = op_case.gradcheck_tolerance;
    const Tensors inputs = op_case.inputs(DType::f64, kSeed);
    // Large inputs are there for the blocks; small ones show the derivative.
    options.max_elements = 12;
    for (const Tensor& x : inputs)
      if (is_checked(x) && x.numel() > 3000) options.max_elements = 2;
    const auto on_device = [&op_case](const Tensors& xs) {
      Tensors inside, outside;
      for (const Tensor& x : xs) inside.push_back(x.defined() ? x.to(Device::cuda()) : x);
      for (const Tensor& y : op_case.run(inside)) outside.push_back(y.to(Device::cpu()));
      return outside;
    };
    const GradcheckResult result = gradcheck(on_device, inputs, options);
    CHECK_MESSAGE(result.ok, result.message);
  });
}

TEST_CASE("cuda: operators: the same bits every time") {
  if (!can_run()) return;
  for_each_case([](const OpCase& op_case) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Tensors wide = op_case.inputs(DType::f32, kSeed);
      const Tensors inputs = moved(dtype == DType::bf16 ? rounded(op_case, wide) : wide, Device::cuda());
      const Result first = differentiate(op_case, inputs);
      const auto check_again = [&op_case, &inputs, &first] {
        const Result again = differentiate(op_case, inputs);
        CHECK(same_bits(first.outputs, again.outputs));
        CHECK(same_bits(first.gradients, again.gradients));
      };
      INFO(std::string(name_of(dtype)));
#ifdef TANDEM_CUDA_SIMULATED
      simulator::for_each_order(
          check_again);  // a result that depends on the order of threads lacks a barrier
#else
      check_again();
#endif
    }
  });
}

}  // namespace tandem::testing
