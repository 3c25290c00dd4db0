// linear on a GPU with outputs of an odd width, as logits have: padded inside, and nothing of it seen outside.
#include "tandem/ops/linear.h"

#include <doctest/doctest.h>

#include "tandem/autograd/leaf.h"
#include "tandem/autograd/tape.h"
#include "tandem/models/training/optimizer.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/support/weight_cache.h"
#include "tests/support/devices.h"
#include "tests/support/op_cases.h"
#include "tests/support/same_bits.h"
#ifdef TANDEM_CUDA_SIMULATED
#include "tandem/cuda/simulator/simulator.h"
#endif

namespace tandem::testing {
namespace {

constexpr Device kCuda = Device::cuda();
constexpr int64_t kWidth = 24;

// Products so far with a leading dimension that is no multiple of 16 bytes; 0 on a real GPU, which does not say.
int64_t odd_products() {
#ifdef TANDEM_CUDA_SIMULATED
  return static_cast<int64_t>(simulator::statistics().odd_matmuls);
#else
  return 0;
#endif
}

// Returns y, dx, dW and, with a bias, db, of a layer whose y has the gradient dy.
Tensors differentiated(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& dy) {
  const Tensor leaf = requires_grad(x.clone());
  Tape tape;
  const Tensor y = linear(leaf, weight, bias);
  tape.backward({y}, {dy});
  Tensors all{y, grad(leaf), grad(weight)};
  if (bias.defined()) all.push_back(grad(bias));
  return all;
}

Tensor in_f64(const Tensor& x) {
  return x.defined() ? x.detach().to(Device::cpu()).to(DType::f64) : x;
}

}  // namespace

TEST_CASE("cuda: linear: rows of an odd width are padded for the products, which give what others give") {
  if (!has_cuda()) return;
  constexpr int64_t kRows = 130;
  for (const int64_t out : {205, 1, 7, 96})
    for (const DType parameters : {DType::f32, DType::bf16})
      for (const bool with_bias : {false, true}) {
        CAPTURE(out);
        CAPTURE(static_cast<int>(parameters));
        CAPTURE(with_bias);
        const auto parameter = [&](const Shape& shape, uint64_t seed) {
          return requires_grad(random_tensor(shape, DType::bf16, seed).to(parameters).to(kCuda));
        };
        const Tensor weight = parameter({out, kWidth}, 1), bias = with_bias ? parameter({out}, 2) : Tensor();
        const Tensor x = random_tensor({kRows, kWidth}, DType::bf16, 3).to(kCuda),
                     dy = random_tensor({kRows, out}, DType::bf16, 4).to(kCuda);
        const int64_t before = odd_products();
        const Tensors all = differentiated(x, weight, bias, dy);
        CHECK(odd_products() == before);
        const Tensors exact = differentiated(in_f64(x), requires_grad(in_f64(weight)),
                                             with_bias ? requires_grad(in_f64(bias)) : Tensor(), in_f64(dy));
        for (size_t i = 0; i < all.size(); ++i) {
          CAPTURE(i);
          CHECK(all[i].shape() == exact[i].shape());
          const bool in_f32 = i >= 2 && parameters == DType::f32;
          CHECK(relative_error(all[i].to(Device::cpu()), exact[i]) < (in_f32 ? 1e-5 : 8e-3));
        }
#ifdef TANDEM_CUDA_SIMULATED
        constexpr int64_t kFew = 65;  // these rows are too few to be padded
        const NoGrad pause;
        const Tensor half = linear(x.view_rows(0, kFew), weight, bias);
        CHECK((odd_products() > before) == (out % 8 != 0));
        CHECK(same_bits(half, all[0].view_rows(0, kFew)));
#endif
      }
}

TEST_CASE("cuda: linear: what pads a weight stays zero while the weight is trained, and is seen nowhere") {
  if (!has_cuda()) return;
  const Tensor weight = requires_grad(random_tensor({205, kWidth}, DType::f32, 1).to(kCuda)),
               bias = requires_grad(random_tensor({205}, DType::f32, 2).to(kCuda));
  Optimizer optimizer({{"weight", weight}, {"bias", bias}}, {});
  const Tensor x = random_tensor({200, kWidth}, DType::bf16, 3).to(kCuda),
               targets = random_ids({200}, 205, 4).to(kCuda);
  for (int step = 0; step < 3; ++step) {
    Tape tape;
    tape.backward(cross_entropy(linear(x, weight, bias), targets));
    for (const Tensor& leaf : {weight, bias}) CHECK(grad(leaf).shape() == leaf.shape());
    optimizer.step(0.1);
    for (const Tensor& leaf : {weight, bias}) {
      const Tensor copy = low_precision_copy(leaf), padded = padded_bf16(leaf);
      CHECK(copy.shape() == leaf.shape());
      CHECK(padded.raw() == copy.raw());
      REQUIRE(padded.size(0) == 208);
      CHECK(same_bits(padded.view_rows(0, 205).to(Device::cpu()), leaf.to(Device::cpu()).to(DType::bf16)));
      for (const bf16 value : padded.view_rows(205, 208).to(Device::cpu()).to_vector<bf16>())
        CHECK(value == 0.0f);
    }
  }
}

}  // namespace tandem::testing
