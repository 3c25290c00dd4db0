// linear_scan: cases of its three forms, segments chained through the state, the limited derivative, errors.
#include "tandem/ops/linear_scan.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "tandem/autograd/gradcheck.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/ops/reference/linear_scan.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/run_op_case.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

struct Form {
  const char* name;
  ScanForm form;
  double low, high;  // range of p
};
constexpr Form kForms[] = {{"coefficients", ScanForm::coefficients, -0.9, 1},
                           {"min_gru", ScanForm::min_gru, -3, 3},
                           {"rg_lru", ScanForm::rg_lru, -0.7, -0.02}};

Tensors make_inputs(const Form& form, Shape shape, bool h0, DType dtype, uint64_t seed) {
  Tensors inputs{random_tensor(shape, dtype, seed, form.low, form.high),
                 random_tensor(shape, dtype, seed + 1, -2, 2)};
  if (h0) inputs.push_back(random_tensor(shape.tail(), dtype, seed + 2));
  return inputs;
}

Tensors outputs(const LinearScanResult& y) {
  return {y.h, y.h_last};
}

OpCase op_case_of(const std::string& name, const Form& form, Shape shape, bool h0) {
  const ScanForm kind = form.form;
  OpCase op_case;
  op_case.op = "linear_scan";
  op_case.name = std::string(form.name) + ", " + name;
  op_case.inputs = [form, shape, h0](DType dtype, uint64_t seed) {
    return make_inputs(form, shape, h0, dtype, seed);
  };
  op_case.run = [kind, h0](const Tensors& in) {
    return outputs(linear_scan(in[0], in[1], h0 ? in[2] : Tensor(), kind));
  };
  op_case.reference = [kind, h0](const Tensors& in) {
    return outputs(reference::linear_scan(in[0], in[1], h0 ? in[2] : Tensor(), kind));
  };
  if (h0) op_case.weights = {2};
  return op_case;
}

}  // namespace

SIGNATURES(linear_scan) {
  for (const ScanForm form : {ScanForm::coefficients, ScanForm::min_gru, ScanForm::rg_lru})
    add_signature({.op = "linear_scan",
                   .function = "linear_scan",
                   .sizes = {3, 2, 5},
                   .tensors = [](const Sizes& n) -> TensorArguments {
                     return {{"p", {n[0], n[1], n[2]}},
                             {"q", {n[0], n[1], n[2]}},
                             {"h0", {n[1], n[2]}, DType::f32, true}};
                   },
                   .call = [form](const Tensors& x, const Numbers&) -> Tensors {
                     const LinearScanResult result = linear_scan(x[0], x[1], x[2], form);
                     return {result.h, result.h_last};
                   }});
}

OP_CASES(linear_scan) {
  for (const Form& form : kForms) {
    const auto add = [&form](const char* name, Shape shape, bool h0) {
      add_op_case(op_case_of(name, form, shape, h0));
    };
    add("one element", {1, 1, 1}, true);
    add("from a state", {7, 3, 33}, true);
    add("at the beginning of a text", {5, 2, 17}, false);
    add("chunks of steps and a part of one", {83, 2, 40}, true);
    add("whole chunks of steps", {64, 1, 65}, false);
    add("enough for all threads", {33, 3, 130}, true);
  }
  add_op_case(op_case_of("blocks of columns, the last one narrow", kForms[1], {3, 2, 600}, true));
}

TEST_CASE("linear_scan: gradients of h alone and of the last state alone, on every device") {
  for (const Form& form : kForms) {
    CAPTURE(form.name);
    const Tensors inputs = make_inputs(form, {40, 2, 3}, true, DType::f64, 3);
    for (const bool use_h : {true, false}) {
      const auto one = [&form, use_h](const Tensors& in) -> Tensors {
        const LinearScanResult y = linear_scan(in[0], in[1], in[2], form.form);
        return {use_h ? y.h : y.h_last};
      };
      const GradcheckResult result = gradcheck(one, inputs);
      CHECK_MESSAGE(result.ok, result.message);
      OpCase op_case = op_case_of("", form, {40, 2, 3}, true);
      op_case.run = one;
      const Result expected = differentiate(op_case, inputs);
      for (const Device device : test_devices()) {
        Tensors moved;
        for (const Tensor& x : inputs) moved.push_back(x.to(device));
        const Result y = differentiate(op_case, moved);
        for (const size_t i : {0, 1, 2}) CHECK(relative_error(y.gradients[i], expected.gradients[i]) < 1e-12);
      }
    }
  }
}

TEST_CASE("linear_scan: two segments chained through the state are one long pass, gradients too") {
  for (const Device device : test_devices())
    for (const Form& form : kForms) {
      CAPTURE(form.name);
      const Tensors in = make_inputs(form, {70, 2, 7}, true, DType::f64, 11);
      const Tensor p = in[0].to(device), q = in[1].to(device), h0 = requires_grad(in[2].to(device).clone());
      const Tensor dh = random_tensor({70, 2, 7}, DType::f64, 21).to(device);
      const Tensor dlast = random_tensor({2, 7}, DType::f64, 22).to(device);

      Tape tape;
      const LinearScanResult once = linear_scan(p, q, h0, form.form);
      tape.backward({once.h, once.h_last}, {dh, dlast});
      const Tensor whole = grad(h0).clone();
      zero_grad(h0);

      Tape second;
      const LinearScanResult a = linear_scan(p.view_rows(0, 37), q.view_rows(0, 37), h0, form.form);
      const LinearScanResult b = linear_scan(p.view_rows(37, 70), q.view_rows(37, 70), a.h_last, form.form);
      CHECK(relative_error(a.h, once.h.view_rows(0, 37)) < 1e-14);
      CHECK(relative_error(b.h, once.h.view_rows(37, 70)) < 1e-14);
      CHECK(relative_error(b.h_last, once.h_last) < 1e-14);
      second.backward({a.h, b.h, b.h_last}, {dh.view_rows(0, 37), dh.view_rows(37, 70), dlast});
      CHECK(relative_error(grad(h0), whole) < 1e-13);
    }
}

TEST_CASE(
    "linear_scan: the root of an RG-LRU is exact near a decay of 1, and its derivative is at most 1000") {
  for (const Device device : test_devices()) {
    const std::vector<float> p{0, -1e-12f, -1e-7f, -1e-3f, -0.16f, -0.18f, -30};
    const auto n = static_cast<int64_t>(p.size());
    const Tensor logs = requires_grad(tensor_of<float>({1, 1, n}, p).to(device));
    const Tensor q = full({1, 1, n}, 1, DType::f32, device), h0 = zeros({1, n}, DType::f32, device);
    Tape tape;
    const LinearScanResult y = linear_scan(logs, q, h0, ScanForm::rg_lru);
    tape.backward({y.h}, {full(y.h.shape(), 1, DType::f32, device)});
    const std::vector<float> h = y.h.to_vector<float>(), slope = grad(logs).to_vector<float>();
    for (size_t i = 0; i < p.size(); ++i) {
      CAPTURE(p[i]);
      const double square = -std::expm1(2.0 * static_cast<double>(p[i])), root = std::sqrt(square);
      CHECK(static_cast<double>(h[i]) == doctest::Approx(root).epsilon(2e-6));
      const double derivative = root > 0 ? std::min(1000.0, 0.5 / root) : 1000.0;
      CHECK(static_cast<double>(slope[i]) == doctest::Approx(-2 * derivative * (1 - square)).epsilon(1e-5));
    }
  }
}

TEST_CASE("linear_scan: a minGRU's state stays finite and positive for huge inputs") {
  for (const Device device : test_devices()) {
    const Tensor p = requires_grad(random_tensor({40, 1, 12}, DType::f32, 1, -1e30, 1e30).to(device));
    const Tensor q = requires_grad(random_tensor({40, 1, 12}, DType::f32, 2, -1e30, 1e30).to(device));
    Tape tape;
    const LinearScanResult y = linear_scan(p, q, Tensor(), ScanForm::min_gru);
    for (const float value : y.h.to_vector<float>()) CHECK((std::isfinite(value) && value >= 0));
    tape.backward({y.h}, {full(y.h.shape(), 1e-3, DType::f32, device)});
    for (const Tensor& x : {p, q})
      for (const float value : grad(x).to_vector<float>()) CHECK(std::isfinite(value));
  }
}

TEST_CASE("linear_scan: errors say what is wrong") {
  const auto error = [](const Tensor& p, const Tensor& q, const Tensor& h0) {
    return error_of([&] { linear_scan(p, q, h0, ScanForm::min_gru); });
  };
  const Tensor x = zeros({4, 2, 3}, DType::f32), none;
  CHECK(error(zeros({4, 6}, DType::f32), x, none) ==
        "linear_scan: p is (4, 6); it must be (T, B, D) with at least one time step and one column");
  CHECK(contains(error(zeros({0, 2, 3}, DType::f32), x, none), "at least one time step"));
  CHECK(error(x, zeros({4, 2, 4}, DType::f32), none) ==
        "linear_scan: q is (4, 2, 4), but p is (4, 2, 3) and takes q (4, 2, 3)");
  CHECK(contains(error(x, zeros({4, 2, 3}, DType::f64), none), "linear_scan: q is f64 (4, 2, 3) on cpu"));
  CHECK(error(x, x, zeros({3, 2}, DType::f32)) ==
        "linear_scan: h0 is (3, 2), but p is (4, 2, 3) and takes h0 (2, 3)");
  const Tensor ids = zeros({4, 2, 3}, DType::i32);
  CHECK(contains(error(ids, ids, none),
                 "linear_scan: p is i32 (4, 2, 3) on cpu; its dtype must be f32 or f64"));
}

}  // namespace tandem::testing
