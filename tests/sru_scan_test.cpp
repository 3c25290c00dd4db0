// The SRU scan against its definition, its gradients, and segments chained through the state.
#include "ops/sru_scan.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "autograd/gradcheck.h"
#include "autograd/tape.h"
#include "tests/errors.h"
#include "tests/op_cases.h"

namespace tandem::testing {
namespace {

struct Case {
  int64_t steps, batch, width;
  int64_t planes = 3;
  bool skip = true, c0 = true, mask = false, tanh = false;
  double rescale = 1.0;
};

Tensors make_inputs(const Case& c, DType dtype, uint64_t seed) {
  Tensors inputs{random_tensor({c.steps, c.batch, c.planes * c.width}, dtype, seed, -2, 2),
                 random_tensor({2 * c.width}, dtype, seed + 1),
                 random_tensor({2 * c.width}, dtype, seed + 2, -2, 1)};
  if (c.c0) inputs.push_back(random_tensor({c.batch, c.width}, dtype, seed + 3));
  if (c.skip) inputs.push_back(random_tensor({c.steps, c.batch, c.width}, dtype, seed + 4));
  return inputs;
}

// Dropped with probability a quarter, else scaled up: exact in f32.
Tensor make_mask(const Case& c, DType dtype) {
  return tensor_from({c.batch, c.width}, [](int64_t i) { return i % 4 == 1 ? 0.0 : 1.25; }).to(dtype);
}

SruScanResult scan(const Case& c, const Tensors& in) {
  SruScanOptions options;
  if (c.mask) options.mask = make_mask(c, in[0].dtype());
  options.rescale = c.rescale;
  options.tanh = c.tanh;
  return sru_scan(in[0], c.skip ? in.back() : Tensor(), in[1], in[2], c.c0 ? in[3] : Tensor(), options);
}

double logistic(double x) {
  return 1 / (1 + std::exp(-x));
}

Tensors reference(const Case& c, const Tensors& in) {
  const int64_t width = c.width;
  const double *v = in[1].data<double>(), *bias = in[2].data<double>();
  const Tensor mask = make_mask(c, DType::f64);
  Tensor h({c.steps, c.batch, width}, DType::f64), last({c.batch, width}, DType::f64);
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t j = 0; j < width; ++j) {
      double state = c.c0 ? in[3].data<double>()[b * width + j] : 0;
      for (int64_t t = 0; t < c.steps; ++t) {
        const double* u = in[0].data<double>() + (t * c.batch + b) * c.planes * width + j;
        const int64_t at = (t * c.batch + b) * width + j;
        double skip = 0;
        if (c.planes == 4) skip = u[3 * width];
        if (c.skip) skip = c.rescale * in.back().data<double>()[at];
        const double f = logistic(u[width] + v[j] * state + bias[j]);
        const double r = logistic(u[2 * width] + v[width + j] * state + bias[width + j]);
        state = f * state + (1 - f) * u[0];
        const double g = c.tanh ? std::tanh(state) : state;
        const double m = c.mask ? mask.data<double>()[b * width + j] : 1;
        h.data<double>()[at] = m * r * g + (1 - m * r) * skip;
      }
      last.data<double>()[b * width + j] = state;
    }
  return {h, last};
}

void add(const std::string& name, const Case& c) {
  OpCase op_case;
  op_case.op = "sru_scan";
  op_case.name = name;
  op_case.inputs = [c](DType dtype, uint64_t seed) { return make_inputs(c, dtype, seed); };
  op_case.run = [c](const Tensors& in) -> Tensors {
    const SruScanResult y = scan(c, in);
    return {y.h, y.c_last};
  };
  op_case.reference = [c](const Tensors& in) { return reference(c, in); };
  add_op_case(op_case);
}

}  // namespace

OP_CASES(sru_scan) {
  add("one element", {.steps = 1, .batch = 1, .width = 1});
  add("three matrices", {.steps = 7, .batch = 3, .width = 33});
  add("from zeros", {.steps = 3, .batch = 1, .width = 65, .c0 = false});
  add("rescaled skip, mask", {.steps = 5, .batch = 2, .width = 33, .mask = true, .rescale = 1.3});
  add("four matrices", {.steps = 5, .batch = 3, .width = 17, .planes = 4, .skip = false});
  // The rescale must not reach the projected skip.
  add("four matrices, all options", {.steps = 4,
                                     .batch = 2,
                                     .width = 33,
                                     .planes = 4,
                                     .skip = false,
                                     .mask = true,
                                     .tanh = true,
                                     .rescale = 1.3});
  add("no skip", {.steps = 4, .batch = 2, .width = 33, .skip = false, .mask = true, .rescale = 1.3});
  add("tanh", {.steps = 6, .batch = 2, .width = 33, .tanh = true});
  add("blocks of columns, the last one narrow", {.steps = 3, .batch = 2, .width = 600, .mask = true});
  add("enough for all threads", {.steps = 33, .batch = 3, .width = 130});
}

TEST_CASE("sru_scan: gradients of h alone and of the last state alone") {
  const Case c{.steps = 6, .batch = 2, .width = 5, .mask = true, .rescale = 1.2};
  for (const bool use_h : {true, false}) {
    const auto one = [c, use_h](const Tensors& in) -> Tensors {
      const SruScanResult y = scan(c, in);
      return {use_h ? y.h : y.c_last};
    };
    const GradcheckResult result = gradcheck(one, make_inputs(c, DType::f64, 3));
    CHECK_MESSAGE(result.ok, result.message);
  }
}

TEST_CASE("sru_scan: two segments chained through the state are one long pass, gradients too") {
  const Case whole{.steps = 9, .batch = 2, .width = 7, .mask = true};
  const Tensors in = make_inputs(whole, DType::f64, 11);
  const Tensor weight = requires_grad(in[1].clone()), c0 = requires_grad(in[3].clone());
  const Tensor dh = random_tensor({9, 2, 7}, DType::f64, 21), dc = random_tensor({2, 7}, DType::f64, 22);
  const SruScanOptions options{.mask = make_mask(whole, DType::f64)};

  Tape tape;
  const SruScanResult once = sru_scan(in[0], in[4], weight, in[2], c0, options);
  tape.backward({once.h, once.c_last}, {dh, dc});
  const Tensor weight_grad = grad(weight).clone(), c0_grad = grad(c0).clone();
  zero_grad(weight);
  zero_grad(c0);

  Tape second;
  const auto segment = [&in, &weight, &options](int64_t begin, int64_t end, const Tensor& state) {
    return sru_scan(in[0].alias_rows(begin, end), in[4].alias_rows(begin, end), weight, in[2], state,
                    options);
  };
  const SruScanResult a = segment(0, 4, c0), b = segment(4, 9, a.c_last);
  CHECK(relative_error(a.h, once.h.alias_rows(0, 4)) == 0);
  CHECK(relative_error(b.h, once.h.alias_rows(4, 9)) == 0);
  CHECK(relative_error(b.c_last, once.c_last) == 0);
  second.backward({a.h, b.h, b.c_last}, {dh.alias_rows(0, 4), dh.alias_rows(4, 9), dc});
  CHECK(relative_error(grad(weight), weight_grad) < 1e-14);
  CHECK(relative_error(grad(c0), c0_grad) < 1e-14);
}

TEST_CASE("sru_scan: the last state does not keep the other states alive") {
  const Case c{.steps = 64, .batch = 1, .width = 8};
  const Tensors in = make_inputs(c, DType::f32, 5);
  requires_grad(in[1]);
  Tape tape;
  CHECK(scan(c, in).c_last.storage()->bytes() < 64 * 8 * sizeof(float));
}

TEST_CASE("sru_scan: gates stay gates and gradients finite for huge pre-activations") {
  Tensor u = random_tensor({2, 1, 12}, DType::f32, 1, -1e30, 1e30);
  requires_grad(u);
  const Tensor w = zeros({8}, DType::f32), x = random_tensor({2, 1, 4}, DType::f32, 2);
  Tape tape;
  const SruScanResult y = sru_scan(u, x, w, w, Tensor());
  tape.backward({y.c_last}, {full({1, 4}, 1.0, DType::f32)});
  for (const float value : grad(u).to_vector<float>()) CHECK(std::isfinite(value));
}

TEST_CASE("sru_scan: errors say what is wrong") {
  const Tensor u = zeros({4, 2, 9}, DType::f32), x = zeros({4, 2, 3}, DType::f32), w = zeros({6}, DType::f32);
  const Tensor u4 = zeros({4, 2, 12}, DType::f32), bad = zeros({4, 3, 3}, DType::f32);
  const auto error = [](const Tensor& u, const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& c0,
                        const Tensor& mask) {
    return error_of([&] { sru_scan(u, x, w, b, c0, {.mask = mask}); });
  };
  const Tensor none;
  CHECK(error(zeros({4, 18}, DType::f32), x, w, w, none, none) ==
        "sru_scan: u is (4, 18); it must be (T, B, 3 D) or (T, B, 4 D) with at least one time step");
  CHECK(error(zeros({0, 2, 9}, DType::f32), none, w, w, none, none).find("at least one time step") !=
        std::string::npos);
  CHECK(error(u, x, zeros({5}, DType::f32), w, none, none) ==
        "sru_scan: weight_c is (5); it must be (2 D), v_f then v_r");
  CHECK(error(zeros({4, 2, 8}, DType::f32), x, w, w, none, none) ==
        "sru_scan: u is (4, 2, 8) and weight_c (6): the last axis of u must be 3 D or 4 D, 9 or 12");
  CHECK(error(u4, x, w, w, none, none) ==
        "sru_scan: u is (4, 2, 12), four planes of 3, whose last is the skip, and x (4, 2, 3) is given too; "
        "drop one "
        "of them");
  CHECK(error(u, bad, w, w, none, none) ==
        "sru_scan: x is (4, 3, 3), but u is (4, 2, 9) and takes x (4, 2, 3)");
  CHECK(error(u, x, w, zeros({3}, DType::f32), none, none) ==
        "sru_scan: bias is (3), but u is (4, 2, 9) and takes bias (6)");
  CHECK(error(u, x, w, w, zeros({3, 2}, DType::f32), none) ==
        "sru_scan: c0 is (3, 2), but u is (4, 2, 9) and takes c0 (2, 3)");
  CHECK(error(u, x, w, w, none, zeros({4, 2, 3}, DType::f32)) ==
        "sru_scan: mask is (4, 2, 3), but u is (4, 2, 9) and takes mask (2, 3)");
  CHECK(error(u, x, w, w, zeros({2, 3}, DType::f64), none) ==
        "sru_scan: c0 is f64 (2, 3) on cpu, but u is f32 (4, 2, 9) on cpu; give both one dtype and device");
  CHECK(error_of([] {
          const Tensor v = zeros({6}, DType::i32);
          sru_scan(zeros({4, 2, 9}, DType::i32), Tensor(), v, v, Tensor());
        }).find("sru_scan: dtype i32 is not supported") == 0);
}

}  // namespace tandem::testing
