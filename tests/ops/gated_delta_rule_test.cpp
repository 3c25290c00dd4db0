// gated_delta_rule: cases against the recurrence step by step, segments, what beta and the decay mean, errors.
#include "tandem/ops/gated_delta_rule.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "tandem/autograd/gradcheck.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/ops/reference/gated_delta_rule.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/run_op_case.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

struct Case {
  int64_t steps, batch, heads, d_key, d_value;
  bool s0 = true;
  double decay = 0.3;  // log_decay lies between -decay and 0
};

// Keys have about the length 1, as in a model: else the state grows without bound.
Tensors make_inputs(const Case& c, DType dtype, uint64_t seed) {
  const Shape keys{c.steps, c.batch, c.heads * c.d_key}, heads{c.steps, c.batch, c.heads};
  const double side = std::sqrt(2.0 / static_cast<double>(c.d_key));
  Tensors inputs{random_tensor(keys, dtype, seed), random_tensor(keys, dtype, seed + 1, -side, side),
                 random_tensor({c.steps, c.batch, c.heads * c.d_value}, dtype, seed + 2),
                 random_tensor(heads, dtype, seed + 3, -c.decay, 0),
                 random_tensor(heads, dtype, seed + 4, 0, 1)};
  if (c.s0) inputs.push_back(random_tensor({c.batch, c.heads * c.d_key * c.d_value}, dtype, seed + 5));
  return inputs;
}

GatedDeltaResult run(const Tensors& in) {
  return gated_delta_rule(in[0], in[1], in[2], in[3], in[4], in.size() > 5 ? in[5] : Tensor());
}

OpCase op_case_of(const std::string& name, const Case& c) {
  OpCase op_case;
  op_case.op = "gated_delta_rule";
  op_case.name = name;
  op_case.inputs = [c](DType dtype, uint64_t seed) { return make_inputs(c, dtype, seed); };
  op_case.run = [](const Tensors& in) -> Tensors {
    const GatedDeltaResult y = run(in);
    return {y.o, y.state};
  };
  op_case.reference = [](const Tensors& in) -> Tensors {
    const GatedDeltaResult y =
        reference::gated_delta_rule({in[0], in[1], in[2], in[3], in[4], in.size() > 5 ? in[5] : Tensor()});
    return {y.o, y.state};
  };
  op_case.weights = {3, 4};
  if (c.s0) op_case.weights.push_back(5);
  return op_case;
}

}  // namespace

SIGNATURES(gated_delta_rule) {
  add_signature({.op = "gated_delta_rule",
                 .function = "gated_delta_rule",
                 .sizes = {3, 2, 2, 4, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   const int64_t t = n[0], b = n[1], heads = n[2], dk = n[3], dv = n[4];
                   return {{"q", {t, b, heads * dk}}, {"k", {t, b, heads * dk}},
                           {"v", {t, b, heads * dv}}, {"log_decay", {t, b, heads}},
                           {"beta", {t, b, heads}},   {"s0", {b, heads * dk * dv}, DType::f32, true}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors {
                   const GatedDeltaResult result = gated_delta_rule(x[0], x[1], x[2], x[3], x[4], x[5]);
                   return {result.o, result.state};
                 }});
}

OP_CASES(gated_delta_rule) {
  add_op_case(op_case_of("one element", {1, 1, 1, 1, 1}));
  add_op_case(op_case_of("one step", {1, 2, 3, 5, 4}));
  add_op_case(op_case_of("a part of a chunk", {7, 2, 2, 5, 9}));
  add_op_case(op_case_of("from zeros, a whole chunk", {32, 1, 2, 8, 3, false}));
  add_op_case(op_case_of("chunks and a part of one", {75, 2, 2, 6, 10}));
  add_op_case(op_case_of("strong decay", {70, 1, 2, 4, 4, true, 30}));
  add_op_case(op_case_of("no decay", {40, 1, 1, 16, 5, true, 0}));
  add_op_case(op_case_of("enough for all threads", {65, 3, 3, 33, 40}));
}

TEST_CASE("gated_delta_rule: gradients of o alone and of the last state alone, on every device" *
          doctest::test_suite("slow when emulated")) {
  const Case c{40, 2, 2, 4, 5};
  const Tensors inputs = make_inputs(c, DType::f64, 3);
  for (const bool use_o : {true, false}) {
    const auto one = [use_o](const Tensors& in) -> Tensors {
      const GatedDeltaResult y = run(in);
      return {use_o ? y.o : y.state};
    };
    const GradcheckResult result = gradcheck(one, inputs);
    CHECK_MESSAGE(result.ok, result.message);
    OpCase op_case = op_case_of("", c);
    op_case.run = one;
    const Result expected = differentiate(op_case, inputs);
    for (const Device device : test_devices()) {
      Tensors moved;
      for (const Tensor& x : inputs) moved.push_back(x.to(device));
      const Result y = differentiate(op_case, moved);
      for (size_t i = 0; i < inputs.size(); ++i)
        CHECK(relative_error(y.gradients[i], expected.gradients[i]) < 1e-11);
    }
  }
}

TEST_CASE("gated_delta_rule: segments chained through the state are one long pass, gradients too") {
  for (const Device device : test_devices()) {
    const Tensors in = make_inputs({70, 2, 2, 5, 6}, DType::f64, 11);
    Tensors x;
    for (const Tensor& input : in) x.push_back(input.to(device));
    const Tensor s0 = requires_grad(x[5].clone());
    const Tensor d_o = random_tensor(in[2].shape(), DType::f64, 21).to(device);
    const Tensor dstate = random_tensor(in[5].shape(), DType::f64, 22).to(device);
    const auto part = [&x](int64_t begin, int64_t end, const Tensor& state) {
      const auto rows = [begin, end](const Tensor& all) { return all.view_rows(begin, end); };
      return gated_delta_rule(rows(x[0]), rows(x[1]), rows(x[2]), rows(x[3]), rows(x[4]), state);
    };

    Tape tape;
    const GatedDeltaResult once = part(0, 70, s0);
    tape.backward({once.o, once.state}, {d_o, dstate});
    const Tensor whole = grad(s0).clone();
    zero_grad(s0);

    Tape second;
    const GatedDeltaResult a = part(0, 41, s0), b = part(41, 70, a.state);
    CHECK(relative_error(a.o, once.o.view_rows(0, 41)) < 1e-13);
    CHECK(relative_error(b.o, once.o.view_rows(41, 70)) < 1e-13);
    CHECK(relative_error(b.state, once.state) < 1e-13);
    second.backward({a.o, b.o, b.state}, {d_o.view_rows(0, 41), d_o.view_rows(41, 70), dstate});
    CHECK(relative_error(grad(s0), whole) < 1e-12);
  }
}

TEST_CASE("gated_delta_rule: with beta 1 and no decay a key's value is replaced, and others stay") {
  for (const Device device : test_devices()) {
    // Keys e_0, e_1, e_0; values 1, 2, 3; each query asks for e_0 and e_1 at once.
    const auto on = [device](Shape shape, const std::vector<double>& values) {
      return tensor_of<double>(shape, values).to(device);
    };
    const Tensor k = on({3, 1, 2}, {1, 0, 0, 1, 1, 0}), q = on({3, 1, 2}, {1, 1, 1, 1, 1, 1});
    const Tensor v = on({3, 1, 1}, {1, 2, 3}), zero = on({3, 1, 1}, {0, 0, 0}),
                 one = on({3, 1, 1}, {1, 1, 1});
    const GatedDeltaResult y = gated_delta_rule(q, k, v, zero, one);
    CHECK(y.o.to_vector<double>() == std::vector<double>{1, 3, 5});
    CHECK(y.state.to_vector<double>() == std::vector<double>{3, 2});
    CHECK(gated_delta_rule(q, k, v, zero, zero).state.to_vector<double>() == std::vector<double>{0, 0});
  }
}

TEST_CASE("gated_delta_rule: errors say what is wrong") {
  const Tensor q = zeros({4, 2, 6}, DType::f32), v = zeros({4, 2, 9}, DType::f32),
               heads = zeros({4, 2, 3}, DType::f32);
  const auto error = [](const Tensor& a, const Tensor& b, const Tensor& c, const Tensor& d, const Tensor& e,
                        const Tensor& s) { return error_of([&] { gated_delta_rule(a, b, c, d, e, s); }); };
  CHECK(error(zeros({4, 6}, DType::f32), q, v, heads, heads, {}) ==
        "gated_delta_rule: q is (4, 6); it must be (T, B, H dk) with at least one time step and one column");
  CHECK(
      error(q, q, v, heads, zeros({4, 2, 4}, DType::f32), {}) ==
      "gated_delta_rule: beta is (4, 2, 4), q is (4, 2, 6); beta must be (T, B, H), and H must divide q's last");
  CHECK(error(q, q, zeros({4, 2, 8}, DType::f32), heads, heads, {}) ==
        "gated_delta_rule: v is (4, 2, 8), and beta has 3 heads; v must be (T, B, H dv)");
  CHECK(error(q, zeros({4, 2, 3}, DType::f32), v, heads, heads, {}) ==
        "gated_delta_rule: k is (4, 2, 3), but q is (4, 2, 6) and takes k (4, 2, 6)");
  CHECK(contains(error(q, q, zeros({3, 2, 9}, DType::f32), heads, heads, {}), "takes v (4, 2, 9)"));
  CHECK(contains(error(q, q, v, zeros({4, 2, 3}, DType::f64), heads, {}), "log_decay is f64"));
  CHECK(
      contains(error(q, q, v, heads, heads, zeros({2, 6}, DType::f32)), "s0 must be (B, H dk dv), (2, 18)"));
  const Tensor none = zeros({0, 2, 6}, DType::f32);
  CHECK(contains(error(none, none, v, heads, heads, {}), "at least one time step"));
}

}  // namespace tandem::testing
