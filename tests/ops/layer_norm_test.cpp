// layer_norm, alone and after a residual sum: cases, golden numbers, fused against composed, errors.
#include "tandem/ops/layer_norm.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "tandem/autograd/tape.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/reference/layer_norm.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

void add_plain(const std::string& name, const Shape& shape, double eps, double offset = 0) {
  OpCase op_case;
  op_case.op = "layer_norm";
  op_case.name = name;
  op_case.inputs = [shape, offset](DType dtype, uint64_t seed) -> Tensors {
    const Shape row{shape.back()};
    return {random_tensor(shape, dtype, seed, offset - 2, offset + 2),
            random_tensor(row, dtype, seed + 1, 0.5, 2), random_tensor(row, dtype, seed + 2)};
  };
  op_case.run = [eps](const Tensors& in) -> Tensors { return {layer_norm(in[0], in[1], in[2], {eps})}; };
  op_case.reference = [eps](const Tensors& in) -> Tensors {
    return {reference::layer_norm(in[0], in[1], in[2], eps)};
  };
  op_case.weights = {1, 2};
  add_op_case(op_case);
}

void add_residual(const std::string& name, const Shape& shape, double alpha) {
  OpCase op_case;
  op_case.op = "layer_norm";
  op_case.name = name;
  op_case.inputs = [shape, alpha](DType dtype, uint64_t seed) -> Tensors {
    const Shape row{shape.back()};
    return {random_tensor(shape, dtype, seed), random_tensor(shape, dtype, seed + 1),
            random_tensor({1}, dtype, seed + 2, alpha, alpha + 0.1),
            random_tensor(row, dtype, seed + 3, 0.5, 2), random_tensor(row, dtype, seed + 4)};
  };
  op_case.run = [](const Tensors& in) -> Tensors {
    return {residual_layer_norm(in[0], in[1], in[2], in[3], in[4])};
  };
  op_case.reference = [](const Tensors& in) -> Tensors {
    return {reference::residual_layer_norm(in[0], in[1], in[2].item(), in[3], in[4], 1e-5)};
  };
  op_case.weights = {2, 3, 4};
  add_op_case(op_case);
}

}  // namespace

SIGNATURES(layer_norm) {
  add_signature(
      {.op = "layer_norm",
       .function = "layer_norm",
       .sizes = {3, 5},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"x", {n[0], n[1]}}, {"gain", {n[1]}}, {"bias", {n[1]}}};
       },
       .call = [](const Tensors& x, const Numbers& n) -> Tensors {
         return {layer_norm(x[0], x[1], x[2], {.eps = n[0], .dropout = n[1]})};
       },
       .numbers = {{"options.eps", 1e-5, {0, -1, NAN}}, {"options.dropout", 0, {-1, 0.5, 1, NAN}}}});
  add_signature(
      {.op = "layer_norm",
       .function = "residual_layer_norm",
       .sizes = {3, 5},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {
             {"q", {n[0], n[1]}}, {"a", {n[0], n[1]}}, {"alpha", {1}}, {"gain", {n[1]}}, {"bias", {n[1]}}};
       },
       .call = [](const Tensors& x, const Numbers& n) -> Tensors {
         return {residual_layer_norm(x[0], x[1], x[2], x[3], x[4], {.eps = n[0], .dropout = n[1]})};
       },
       .numbers = {{"options.eps", 1e-5, {0, -1, NAN}}, {"options.dropout", 0, {-1, 0.5, 1, NAN}}}});
}

OP_CASES(layer_norm) {
  // A row of one element gives its bias and has no gradient.
  add_plain("rows of one", {4, 1}, 1e-5);
  add_plain("3 columns, no leading axis", {3}, 1e-5);
  add_plain("33 columns, three axes", {5, 3, 33}, 1e-12);
  add_plain("65 columns, many rows", {131, 65}, 1e-5);
  add_plain("large eps", {3, 33}, 0.5);
  add_plain("mean far from zero", {3, 65}, 1e-5, 30);
  add_plain("enough for all threads", {70, 640}, 1e-5);
  add_plain("an odd row wider than a warp", {3, 1031}, 1e-5);
  add_plain("a row wider than a block", {2, 8200}, 1e-5);
  add_plain("an odd row wider than a block", {2, 2051}, 1e-5);
  add_residual("residual, 33 columns", {4, 2, 33}, 0.7);
  add_residual("residual, alpha near its start at zero", {3, 65}, 0);
  add_residual("residual, many rows", {131, 3}, -0.4);
  add_residual("residual, enough for all threads", {70, 640}, 0.3);
  add_residual("residual, rows wider than a warp", {17, 1040}, 0.6);
  add_residual("residual, a row for a block", {2, 4104}, 0.6);
  add_residual("residual, a row wider than a block", {2, 8200}, 0.6);
}

TEST_CASE("layer_norm: golden numbers of PyTorch, for both epsilons") {
  for (const auto& setting : {std::pair{"eps1e-5", 1e-5}, std::pair{"eps1e-12", 1e-12}}) {
    const std::string name = setting.first;
    for (const DType dtype : {DType::f64, DType::f32}) {
      CAPTURE(name);
      CAPTURE(std::string(name_of(dtype)));
      const auto leaf = [dtype](const char* input) {
        return requires_grad(golden("ops/inputs", std::string("layer_norm.") + input).to(dtype));
      };
      const Tensor x = leaf("x"), weight = leaf("weight"), bias = leaf("bias");
      Tape tape;
      const Tensor y = layer_norm(x, weight, bias, {setting.second});
      tape.backward({y}, {golden("ops/inputs", "layer_norm.dy").to(dtype)});
      const auto check = [name = "layer_norm." + name + ".", dtype](
                             const std::string& file, const std::string& tensor, const Tensor& ours) {
        CHECK(relative_error(ours, golden(file, name + tensor)) < (dtype == DType::f64 ? 1e-12 : 5e-6));
      };
      check("ops/outputs", "y", y);
      check("ops/grads", "x", grad(x));
      check("ops/grads", "weight", grad(weight));
      check("ops/grads", "bias", grad(bias));
    }
  }
}

TEST_CASE("residual_layer_norm: the fused operator is the composed one, gradients too") {
  const Shape shape{6, 5, 48}, row{48};
  const Tensor q = requires_grad(random_tensor(shape, DType::f64, 1)),
               a = requires_grad(random_tensor(shape, DType::f64, 2));
  const Tensor alpha = requires_grad(full({1}, 0.8, DType::f64)),
               gain = requires_grad(random_tensor(row, DType::f64, 3));
  const Tensor bias = requires_grad(random_tensor(row, DType::f64, 4)),
               dy = random_tensor(shape, DType::f64, 5);
  const auto backward = [&](bool fused) {
    for (const Tensor& leaf : {q, a, alpha, gain, bias}) zero_grad(leaf);
    Tape tape;
    const Tensor y = fused ? residual_layer_norm(q, a, alpha, gain, bias)
                           : layer_norm(q + scale(a, alpha.item()), gain, bias);
    const Tensor value = y.clone();
    tape.backward({y}, {dy});
    return Tensors{value, grad(q).clone(), grad(a).clone(), grad(gain).clone(), grad(bias).clone()};
  };
  const Tensors one = backward(true);
  double dalpha = 0;  // da = alpha dq, and dalpha = sum(a dq)
  for (int64_t i = 0; i < a.numel(); ++i) dalpha += a.data<double>()[i] * one[1].data<double>()[i];
  CHECK(grad(alpha).item() == doctest::Approx(dalpha).epsilon(1e-12));
  const Tensors two = backward(false);
  for (size_t i = 0; i < one.size(); ++i) CHECK(relative_error(one[i], two[i]) < 1e-12);
}

// Returns y and the gradients of q, a, alpha, gain and bias, with dropout inside the operator or after it.
Tensors with_dropout(const Shape& shape, DType dtype, Device device, bool fused) {
  const LayerNormOptions dropping{1e-5, 0.3, {11, 2, 5}};
  const auto leaf = [device](const Shape& of, DType type, uint64_t seed) {
    return requires_grad(random_tensor(of, type, seed, 0.2, 1.2).to(device));
  };
  const Shape row{shape.back()};
  const DType weights = dtype == DType::bf16 ? DType::f32 : dtype;
  const Tensors leaves{leaf(shape, dtype, 1), leaf(shape, dtype, 2), leaf({1}, weights, 3),
                       leaf(row, weights, 4), leaf(row, weights, 5)};
  const auto run = [&leaves](const LayerNormOptions& options) {
    return residual_layer_norm(leaves[0], leaves[1], leaves[2], leaves[3], leaves[4], options);
  };
  Tape tape;
  const Tensor y = fused ? run(dropping) : dropout(run({}), dropping.dropout, dropping.key);
  Tensors results{y.detach()};
  tape.backward({y}, {random_tensor(shape, dtype, 6).to(device)});
  for (const Tensor& x : leaves) results.push_back(grad(x));
  return results;
}

TEST_CASE("layer_norm: dropout inside the operator equals dropout after it") {
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16})
      for (const Shape& shape :
           {Shape{5, 1}, Shape{7, 33}, Shape{5, 3, 64}, Shape{3, 1100}, Shape{1, 8200}}) {
        if (dtype == DType::bf16 && device.is_cpu()) continue;
        INFO(shape.str(), " ", std::string(name_of(dtype)), " on ", device.str());
        const Tensors inside = with_dropout(shape, dtype, device, true),
                      after = with_dropout(shape, dtype, device, false);
        // On the CPU the bits are the same.
        const double tolerance = device.is_cpu()       ? 0
                                 : dtype == DType::f64 ? 1e-12
                                 : dtype == DType::f32 ? 1e-5
                                                       : 2e-2;
        for (size_t i = 0; i < after.size(); ++i) {
          INFO("result ", i);
          CHECK(inside[i].dtype() == after[i].dtype());
          // The gradient of a row of one element is 0, up to rounding.
          if (shape.back() > 1 || i == 0 || i > 3) CHECK(relative_error(inside[i], after[i]) <= tolerance);
        }
        const Tensor y = inside[0].to(Device::cpu()).to(DType::f32),
                     mask = dropout_mask(shape, 0.3, DType::f32, Device::cpu(), {11, 2, 5});
        for (int64_t i = 0; i < y.numel(); ++i)
          REQUIRE((y.data<float>()[i] == 0) == (mask.data<float>()[i] == 0));
      }
}

TEST_CASE("layer_norm: the gradients of two passes add up") {
  for (const Device device : test_devices()) {
    const Tensor x = random_tensor({40, 33}, DType::f64, 1).to(device),
                 dy = random_tensor({40, 33}, DType::f64, 2).to(device);
    const Tensor alpha = requires_grad(full({1}, 0.5, DType::f64, device)),
                 gain = requires_grad(full({33}, 1, DType::f64, device)),
                 bias = requires_grad(zeros({33}, DType::f64, device));
    const auto pass = [&] {
      Tape tape;
      tape.backward({residual_layer_norm(x, dy, alpha, gain, bias)}, {dy});
      return Tensors{grad(alpha).clone(), grad(gain).clone(), grad(bias).clone()};
    };
    const Tensors one = pass(), two = pass();
    for (size_t i = 0; i < one.size(); ++i) CHECK(relative_error(two[i], scale(one[i], 2)) < 1e-14);
  }
}

TEST_CASE("layer_norm: a constant row is its bias, in f32 too") {
  const Tensor x = full({2, 100}, 1e4, DType::f32), bias = random_tensor({100}, DType::f32, 1);
  const Tensor y = layer_norm(x, full({100}, 1.0, DType::f32), bias);
  CHECK(relative_error(y.view_rows(1, 2).view_as({100}), bias) < 1e-6);
}

TEST_CASE("layer_norm: errors say what is wrong") {
  const Tensor x = zeros({2, 3}, DType::f32), w = zeros({3}, DType::f32), alpha = zeros({1}, DType::f32);
  CHECK(error_of([&] { layer_norm(x, zeros({2}, DType::f32), w); }) ==
        "layer_norm: gain is (2), but x is (2, 3) and takes gain (3)");
  CHECK(
      error_of([&] { layer_norm(x, w, zeros({3}, DType::f64)); }) ==
      "layer_norm: bias is f64 (3) on cpu, but x is f32 (2, 3) on cpu; give bias in f32, on the device of x");
  CHECK(error_of([&] { layer_norm(x, w, w, {0}); }) ==
        "layer_norm: options.eps is 0; it must be positive, such as 1e-5");
  CHECK(error_of([&] { layer_norm(x, w, w, {.dropout = 1}); }) ==
        "layer_norm: options.dropout is 1; a probability of dropping must lie in [0, 1)");
  CHECK(error_of([&] {
          const Tensor weight = zeros({3}, DType::bf16);
          layer_norm(x.to(DType::bf16), weight, weight);
        }) == "layer_norm: x is bf16 (2, 3) on cpu; its dtype must be f32 or f64 on the CPU");
  CHECK(error_of([&] { layer_norm(zeros({}, DType::f32), w, w); }).find("layer_norm: x is ()") == 0);
  CHECK(error_of([&] {
          layer_norm(zeros({2, 0}, DType::f32), w, w);
        }) == "layer_norm: x is (2, 0); it needs a last axis of at least one element");
  CHECK(error_of([&] {
          residual_layer_norm(x, zeros({3, 2}, DType::f32), alpha, w, w);
        }) == "residual_layer_norm: a is (3, 2), but q is (2, 3) and takes a (2, 3)");
  CHECK(error_of([&] { residual_layer_norm(x, x, w, w, w); }) ==
        "residual_layer_norm: alpha is (3), but q is (2, 3) and takes alpha (1)");
  CHECK(error_of([&] {
          const Tensor ids = zeros({3}, DType::i32);
          layer_norm(ids, ids, ids);
        }).find("layer_norm: x is i32 (3) on cpu; its dtype must be f32") == 0);
}

}  // namespace tandem::testing
