// The checks that every operator passes on the CPU: each test runs over the whole table of op_cases.h.
#include "tests/support/op_cases.h"

#include <doctest/doctest.h>

#include <set>

#include "op_names.h"
#include "tandem/autograd/gradcheck.h"
#include "tests/support/run_op_case.h"
#include "tests/support/threads.h"

namespace tandem::testing {

TEST_CASE("operators: every operator has cases, and every case has an operator") {
  std::set<std::string> tested, written;
  for (const OpCase& op_case : op_cases()) tested.insert(op_case.op);
  for (const char* name : kOpFiles) {
    written.insert(name);
    const std::string op = name;
    CHECK_MESSAGE(tested.count(op) == 1, "ops/", op, ".h has no case: add OP_CASES(", op, ") to tests/ops/",
                  op, "_test.cpp");
  }
  for (const std::string& name : tested)
    CHECK_MESSAGE(written.count(name) == 1, "cases of ", name, ", not in ops/");
}

// Each of the following tests runs every case of every operator several times.
TEST_SUITE_BEGIN("slow when emulated");

TEST_CASE("operators: the forward pass is the definition, in f64 and f32") {
  for_each_case([](const OpCase& op_case) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      const Tensors inputs = op_case.inputs(dtype, kSeed);
      const Tensors before = clones(inputs);
      const Tensors ys = op_case.run(inputs);
      const Tensors expected = op_case.reference(converted(inputs, DType::f64));
      CHECK_MESSAGE(same_bits(inputs, before), "the operator changed its inputs");
      REQUIRE(ys.size() == expected.size());
      for (size_t k = 0; k < ys.size(); ++k) {
        INFO("output ", k, ": ", ys[k].str(), ", expected ", expected[k].str());
        CHECK(ys[k].dtype() == dtype);
        CHECK(relative_error(ys[k], expected[k]) <= (dtype == DType::f64 ? 1e-10 : op_case.tolerance_f32));
      }
    }
  });
}

TEST_CASE("operators: the gradient is the derivative (central differences in f64)") {
  for_each_case([](const OpCase& op_case) {
    if (!op_case.differentiable) return;
    GradcheckOptions options;
    options.tolerance = op_case.gradcheck_tolerance;
    options.max_elements = op_case.gradcheck_elements;
    const Tensors inputs = op_case.inputs(DType::f64, kSeed);
    // Large inputs are there for the threads; small ones have shown the derivative.
    for (const Tensor& x : inputs)
      if (is_checked(x) && x.numel() > 10000 && options.max_elements > 0) options.max_elements = 4;
    const GradcheckResult result = gradcheck(op_case.run, inputs, options);
    CHECK_MESSAGE(result.ok, result.message);
  });
}

TEST_CASE("operators: gradients in f32 are those in f64") {
  for_each_case([](const OpCase& op_case) {
    if (!op_case.differentiable) return;
    const Tensors inputs = op_case.inputs(DType::f32, kSeed);
    const Result narrow = differentiate(op_case, inputs);
    const Result wide = differentiate(op_case, converted(inputs, DType::f64));
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!is_checked(inputs[i])) continue;
      INFO("input ", i, ": ", inputs[i].str());
      REQUIRE(narrow.gradients[i].defined() == wide.gradients[i].defined());
      if (!narrow.gradients[i].defined()) continue;
      CHECK(narrow.gradients[i].dtype() == DType::f32);
      CHECK(relative_error(narrow.gradients[i], wide.gradients[i]) <= op_case.gradient_tolerance_f32);
    }
  });
}

TEST_CASE("operators: same bits every time, with one thread and with more") {
  for_each_case([](const OpCase& op_case) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Tensors inputs = op_case.inputs(dtype, kSeed);
      const auto result = [&op_case, &inputs](int threads) {
        const Threads use(threads);
        return op_case.differentiable ? differentiate(op_case, inputs) : Result{op_case.run(inputs), {}};
      };
      const Result one = result(1);
      for (const int threads : {1, 2, 3}) {
        const Result again = result(threads);
        INFO(threads, " threads, ", std::string(name_of(dtype)));
        CHECK(same_bits(one.outputs, again.outputs));
        CHECK(same_bits(one.gradients, again.gradients));
      }
    }
  });
}

TEST_CASE("operators: recording changes no value, and leaves the inputs alone") {
  for_each_case([](const OpCase& op_case) {
    if (!op_case.differentiable) return;
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Tensors inputs = op_case.inputs(dtype, kSeed);
      Tensors leaves = clones(inputs);
      for (const Tensor& x : leaves)
        if (is_checked(x)) requires_grad(x);
      Tape tape;
      const Tensors recorded = op_case.run(leaves);
      {
        const NoGrad pause;
        CHECK(same_bits(recorded, op_case.run(inputs)));
      }
      Grads dys;
      for (const Tensor& y : recorded) dys.push_back(random_tensor(y.shape(), y.dtype(), 5));
      tape.backward(recorded, dys);
      CHECK_MESSAGE(same_bits(leaves, inputs), "backward changed the inputs");
    }
  });
}

TEST_CASE(
    "operators: a gradient is the same whether or not other inputs want one, and however its input was made") {
  for_each_case([](const OpCase& op_case) {
    if (!op_case.differentiable) return;
    const Tensors inputs = op_case.inputs(DType::f64, kSeed);
    const Result all = differentiate(op_case, inputs);
    const auto check = [&inputs, &all](const Result& other, double factor, const char* what, int only) {
      for (size_t i = 0; i < inputs.size(); ++i) {
        if (!is_checked(inputs[i]) || (only >= 0 && only != static_cast<int>(i))) continue;
        INFO(what, ", input ", i, ": ", inputs[i].str());
        REQUIRE(other.gradients[i].defined() == all.gradients[i].defined());
        if (!all.gradients[i].defined()) continue;
        const double* g = all.gradients[i].data<double>();
        const Tensor expected =
            tensor_from(inputs[i].shape(), [g, factor](int64_t k) { return factor * g[k]; });
        CHECK(relative_error(other.gradients[i], expected) <= 1e-12);
      }
    };
    Differentiate through;
    through.through = true;
    check(differentiate(op_case, inputs, through), 1, "inputs made by an operator", -1);
    Differentiate twice;
    twice.passes = 2;
    check(differentiate(op_case, inputs, twice), 2, "two backward passes add up", -1);
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!is_checked(inputs[i])) continue;
      Differentiate alone;
      alone.only = static_cast<int>(i);
      check(differentiate(op_case, inputs, alone), 1, "alone", alone.only);
    }
  });
}

TEST_SUITE_END();

}  // namespace tandem::testing
