// What an AttentionScope sets on a GPU: how attention is cut into blocks, and scores that lie in memory in bf16.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/error.h"
#include "tandem/ops/attention.h"
#include "tests/support/attention_kernels.h"
#include "tests/support/devices.h"
#include "tests/support/op_cases.h"
#include "tests/support/same_bits.h"

namespace tandem::testing {
namespace {

struct TunedCase {
  int64_t queries, memory, batch, width, heads, window;
  double dropout;
  AttentionOptions options() const { return {heads, window, dropout, DropoutKey{7, 3, 11}}; }
};

Tensors on_gpu(const Tensor& q, const Tensor& kv, const AttentionOptions& options,
               const AttentionTuning& tuning) {
  return run_attention_kernels(q, kv, {}, Device::cuda(), {options, MatmulPrecision::f32, tuning});
}

double largest(const Tensor& x) {
  const std::vector<double> values = x.to(DType::f64).to_vector<double>();
  double most = 0;
  for (const double value : values) most = std::max(most, std::abs(value));
  return most;
}

}  // namespace

TEST_CASE("attention: scores in bf16 cost a GPU what their rounding costs, and f32 and f64 nothing") {
  if (!has_cuda()) return;
  struct Scaled {
    TunedCase at;
    int64_t scores;
    double size;  // of q and kv
  };
  const std::vector<Scaled> cases = {
      {{300, 100, 2, 8, 1, 0, 0.1}, 1, 1},      {{300, 100, 2, 8, 2, 0, 0}, 0, 3},
      {{390, 20, 2, 12, 3, 200, 0}, 200000, 2}, {{130, 0, 1, 10, 1, 0, 0.2}, 0, 1},
      {{3, 1500, 2, 8, 2, 0, 0.2}, 0, 1},       {{3, 3001, 2, 8, 2, 0, 0}, 0, 2},
      {{2, 9001, 1, 8, 1, 0, 0.2}, 0, 1}};
  for (const Scaled& c : cases) {
    const TunedCase& at = c.at;
    INFO(at.queries, " queries, memory ", at.memory, ", window ", at.window, ", ", c.scores,
         " scores at once, size ", c.size);
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const Tensor q = random_tensor({at.queries, at.batch, at.width}, dtype, 1, -c.size, c.size);
      const Tensor kv =
          random_tensor({at.memory + at.queries, at.batch, 2 * at.width}, dtype, 2, -c.size, c.size);
      const Tensors plain = on_gpu(q, kv, at.options(), blocks_of(c.scores)),
                    rounded = on_gpu(q, kv, at.options(), blocks_of(c.scores, true));
      for (size_t i = 0; i < 3; ++i) CHECK(same_bits(plain[i], rounded[i]) == (dtype != DType::bf16));
      if (dtype != DType::bf16) continue;
      const Tensors exact =
          run_attention_kernels(q.to(DType::f64), kv.to(DType::f64), {}, Device::cpu(), {at.options()});
      // A scaled score is at most this; rounded, it is off by a 512th of that, and so is the logarithm of the sum.
      // Weights and results are rounded to bf16 besides.
      const auto head = static_cast<double>(at.width / at.heads);
      const double score = c.size * c.size * std::sqrt(head), unit = 1.0 / 512;
      const double weights = std::exp(2 * score * unit) - 1 + unit;
      const double keep = 1 / (1 - at.dropout);
      CHECK(relative_error(rounded[0], exact[0]) < weights * c.size * keep / largest(exact[0]) + unit);
      // No bound of that kind is tight; that of all results in bf16 grows with the scores.
      for (size_t i = 0; i < 3; ++i)
        CHECK(relative_error(rounded[i], exact[i]) < 2e-2 * std::max(1.0, c.size));
    }
  }
}

TEST_CASE("attention: a scope sets blocks and scores for this thread, and backward runs as its forward did") {
  CHECK(attention_tuning().waves == 1);
  CHECK_FALSE(attention_tuning().bf16_scores);
  for (const double waves : {0.0, -1.0, 1001.0, static_cast<double>(NAN)})
    CHECK_THROWS_AS(AttentionScope({.waves = waves}), Error);
  CHECK(attention_tuning().waves == 1);
  if (!has_cuda()) return;
  const Tensor q = random_tensor({300, 2, 8}, DType::bf16, 1),
               kv = random_tensor({400, 2, 16}, DType::bf16, 2),
               dy = random_tensor(q.shape(), DType::bf16, 99).to(Device::cuda());
  const AttentionTuning tuning{.waves = 1e-9, .bf16_scores = true};
  const auto scoped = [&](const AttentionTuning& set) {
    const Tensor leaf_q = requires_grad(q.to(Device::cuda())), leaf_kv = requires_grad(kv.to(Device::cuda()));
    Tape tape;
    Tensor y;
    {
      const AttentionScope scope(set);
      CHECK(attention_tuning().waves == set.waves);
      y = causal_attention(leaf_q, leaf_kv);
    }
    tape.backward({y}, {dy});
    return Tensors{y.to(Device::cpu()), grad(leaf_q).to(Device::cpu()), grad(leaf_kv).to(Device::cpu())};
  };
  const Tensors set = scoped(tuning), expected = on_gpu(q, kv, {}, tuning), plain = scoped({});
  for (size_t i = 0; i < 3; ++i) {
    CHECK(same_bits(set[i], expected[i]));
    CHECK_FALSE(same_bits(set[i], plain[i]));
  }
}

}  // namespace tandem::testing
