// The values that operators offer to a tap agree with their results: weights of attention sum to 1 and give the output with
// the values; gates and states follow the recurrence and end in the last state.
#include <doctest/doctest.h>

#include <array>
#include <cmath>

#include "tandem/core/array.h"
#include "tandem/ops/attention.h"
#include "tandem/ops/gated_delta_rule.h"
#include "tandem/ops/linear_scan.h"
#include "tandem/ops/lstm.h"
#include "tandem/ops/qrnn_scan.h"
#include "tandem/ops/relative_attention.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/sru_scan.h"
#include "tandem/testing/max_difference.h"
#include "tandem/testing/op_case.h"
#include "tests/support/devices.h"
#include "tests/support/heard.h"

namespace tandem::testing {
namespace {

struct Run {
  Device device;
  DType dtype;
  double tolerance;
};

std::vector<Run> runs() {
  std::vector<Run> all;
  for (const Device device : test_devices()) {
    all.push_back({device, DType::f64, 1e-12});
    all.push_back({device, DType::f32, 1e-5});
  }
  return all;
}

Tensor random_on(const Run& run, Shape shape, uint64_t seed, double bound = 2) {
  return random_tensor(shape, DType::f64, seed, -bound, bound).to(run.dtype).to(run.device);
}

Tensor host(const Tensor& x) {
  return x.to(Device::cpu()).to(DType::f64);
}

double at(const Tensor& x, int64_t i) {
  return x.data<double>()[i];
}

// Returns rows begin .. end - 1 of a state that has h0 before all steps: the states before each step.
Tensor states_before(const Tensor& states, const Tensor& first) {
  const Tensor all = zeros_like(states);
  const int64_t columns = states.shape().tail().numel();
  for (int64_t i = 0; i < states.numel(); ++i)
    all.data<double>()[i] = i < columns ? (first.defined() ? at(first, i) : 0) : at(states, i - columns);
  return all;
}

// Checks that rows sum to 1 over the visible keys alone and that, with the values in kv, they give y (T, B, D).
void check_weights(const Tensor& weights, const Tensor& kv_given, const Tensor& y, int64_t window,
                   double tolerance) {
  const Tensor kv = host(kv_given);
  const int64_t queries = y.size(0), batch = y.size(1), width = y.size(2), keys = kv.size(0);
  const int64_t heads = weights.size(1), head = width / heads;
  REQUIRE(weights.shape() == Shape({batch, heads, queries, keys}));
  const CausalMask mask{keys - queries, window};
  const Tensor sums = zeros(y.shape(), DType::f64);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t t = 0; t < queries; ++t) {
        double total = 0;
        for (int64_t j = 0; j < keys; ++j) {
          const double w = at(weights, ((b * heads + h) * queries + t) * keys + j);
          total += w;
          CHECK((w > 0) == (j >= mask.begin(t) && j < mask.end(t)));
          for (int64_t i = h * head; i < (h + 1) * head; ++i)
            sums.data<double>()[(t * batch + b) * width + i] +=
                w * at(kv, (j * batch + b) * 2 * width + width + i);
        }
        CHECK(total == doctest::Approx(1).epsilon(1e-12));
      }
  CHECK(relative_error(sums, y) < tolerance);
}

TEST_CASE("offered values: causal_attention's weights give its output") {
  for (const Run& run : runs())
    for (const auto& sizes :
         {std::array<int64_t, 3>{5, 0, 0}, {7, 6, 0}, {7, 6, 4}, {40, 33, 34}, {1, 3, 0}}) {
      const int64_t queries = sizes[0], memory = sizes[1], window = sizes[2];
      CAPTURE(queries);
      const Tensor q = random_on(run, {queries, 2, 12}, 1), kv = random_on(run, {memory + queries, 2, 24}, 2);
      Tensor y;
      const Heard heard = heard_from([&] { y = causal_attention(q, kv, {.heads = 3, .window = window}); });
      REQUIRE(heard.size() == 1);
      check_weights(heard.at("causal_attention.weights"), kv, y, window, run.tolerance);
    }
}

TEST_CASE("offered values: relative_attention's weights give its output, also where distances are clamped") {
  for (const Run& run : runs())
    for (const int64_t distances : {13, 4, 1}) {
      CAPTURE(distances);
      const Tensor q = random_on(run, {7, 2, 12}, 1), kv = random_on(run, {13, 2, 24}, 2),
                   r = random_on(run, {distances, 12}, 3), u = random_on(run, {12}, 4),
                   v = random_on(run, {12}, 5);
      Tensor y;
      const Heard heard =
          heard_from([&] { y = relative_attention(q, kv, r, u, v, {.heads = 2, .window = 6}); });
      REQUIRE(heard.size() == 1);
      check_weights(heard.at("relative_attention.weights"), kv, y, 6, run.tolerance);
    }
}

TEST_CASE("offered values: attend_cached's weights give its output from the valid rows") {
  for (const Run& run : runs()) {
    const Tensor q = random_on(run, {2, 12}, 1), cache = random_on(run, {9, 2, 24}, 2);
    Tensor y;
    const Heard heard = heard_from([&] { y = attend_cached(q, cache, 5, 3); });
    REQUIRE(heard.size() == 1);
    check_weights(heard.at("attend_cached.weights"), cache.view_rows(0, 5), y.view_as({1, 2, 12}), 0,
                  run.tolerance);
  }
}

TEST_CASE("offered values: with dropout the weights are those before it") {
  const Tensor q = random_tensor({4, 1, 6}, DType::f64, 1), kv = random_tensor({4, 1, 12}, DType::f64, 2);
  const auto weights = [&](double dropout) {
    return heard_from([&] {
             causal_attention(q, kv, {.dropout = dropout, .key = {1, 2, 3}});
           })
        .at("causal_attention.weights");
  };
  CHECK(relative_error(weights(0.5), weights(0)) == 0);
}

TEST_CASE("offered values: sru_scan's gates and states follow its recurrence and give its output") {
  for (const Run& run : runs())
    for (const int64_t planes : {3, 4})
      for (const bool starts : {true, false}) {
        const int64_t steps = 6, batch = 2, d = 5, columns = batch * d;
        const Tensor u = random_on(run, {steps, batch, planes * d}, 1),
                     x = planes == 3 ? random_on(run, {steps, batch, d}, 2) : Tensor(),
                     v = random_on(run, {2 * d}, 3), b = random_on(run, {2 * d}, 4),
                     c0 = starts ? Tensor() : random_on(run, {batch, d}, 5);
        SruScanResult y;
        const Heard heard = heard_from([&] { y = sru_scan(u, x, v, b, c0, {.mask = {}, .tanh = true}); });
        REQUIRE(heard.size() == 3);
        const Tensor f = heard.at("sru_scan.forget"), r = heard.at("sru_scan.reset"),
                     c = heard.at("sru_scan.cell"), hu = host(u);
        REQUIRE(f.shape() == y.h.shape());
        const Tensor before = states_before(c, starts ? Tensor() : host(c0));
        const Tensor expected_c = zeros_like(c), expected_h = zeros_like(c);
        for (int64_t i = 0; i < c.numel(); ++i) {
          const double* plane = hu.data<double>() + i / d * planes * d + i % d;
          const double skip = planes == 4 ? plane[3 * d] : at(host(x), i);
          CHECK((at(f, i) > 0 && at(f, i) < 1));
          expected_c.data<double>()[i] = at(f, i) * at(before, i) + (1 - at(f, i)) * plane[0];
          expected_h.data<double>()[i] = at(r, i) * std::tanh(at(c, i)) + (1 - at(r, i)) * skip;
        }
        CHECK(relative_error(c, expected_c) < 1e-12);
        CHECK(relative_error(y.h, expected_h) < run.tolerance);
        CHECK(relative_error(y.c_last, c.view_rows(steps - 1, steps).view_as({batch, d})) < run.tolerance);
        CHECK(columns == y.c_last.numel());
      }
}

TEST_CASE("offered values: linear_scan's coefficients and states are its recurrence, in every form") {
  for (const Run& run : runs())
    for (const ScanForm form : {ScanForm::coefficients, ScanForm::min_gru, ScanForm::rg_lru})
      for (const bool starts : {true, false}) {
        const Tensor p = random_tensor({6, 2, 5}, DType::f64, 1, -0.9, -0.1).to(run.dtype).to(run.device);
        const Tensor q = random_on(run, {6, 2, 5}, 2), h0 = starts ? Tensor() : random_on(run, {2, 5}, 3);
        LinearScanResult y;
        const Heard heard = heard_from([&] { y = linear_scan(p, q, h0, form); });
        REQUIRE(heard.size() == 3);
        const Tensor a = heard.at("linear_scan.decay"), b = heard.at("linear_scan.input"),
                     h = heard.at("linear_scan.state");
        CHECK(relative_error(h, y.h) == 0);
        const Tensor before = states_before(h, starts ? Tensor() : host(h0)), expected = zeros_like(h);
        for (int64_t i = 0; i < h.numel(); ++i)
          expected.data<double>()[i] = at(a, i) * at(before, i) + at(b, i);
        CHECK(relative_error(h, expected) < run.tolerance);
      }
}

TEST_CASE("offered values: qrnn_scan's gates and states are its recurrence, in every pooling, with zoneout") {
  for (const Run& run : runs())
    for (const QrnnPooling pooling : {QrnnPooling::f, QrnnPooling::fo, QrnnPooling::ifo})
      for (const bool training : {true, false}) {
        const int64_t planes = qrnn_planes(pooling), d = 5;
        const Tensor u = random_on(run, {6, 2, planes * d}, 1), c0 = random_on(run, {2, d}, 2), hu = host(u);
        const QrnnScanOptions options{
            .pooling = pooling, .zoneout = 0.3, .training = training, .key = {1, 2, 3}};
        QrnnScanResult y;
        const Heard heard = heard_from([&] { y = qrnn_scan(u, c0, options); });
        REQUIRE(heard.size() == (pooling == QrnnPooling::f ? 3 : 4));
        const Tensor c = heard.at("qrnn_scan.cell"), before = states_before(c, host(c0));
        const Tensor expected_c = zeros_like(c), expected_h = zeros_like(c);
        for (int64_t i = 0; i < c.numel(); ++i) {
          const double z = std::tanh(at(hu, i / d * planes * d + i % d));
          expected_c.data<double>()[i] =
              at(heard.at("qrnn_scan.forget"), i) * at(before, i) + at(heard.at("qrnn_scan.input"), i) * z;
          const double o = pooling == QrnnPooling::f ? 1 : at(heard.at("qrnn_scan.output"), i);
          expected_h.data<double>()[i] = o * at(c, i);
        }
        CHECK(relative_error(c, expected_c) < 1e-12);
        CHECK(relative_error(y.h, expected_h) < run.tolerance);
        CHECK(relative_error(y.c_last, c.view_rows(5, 6).view_as({2, d})) < run.tolerance);
      }
}

TEST_CASE("offered values: lstm's gates and states are its recurrence and give its output") {
  for (const Run& run : runs())
    for (const LstmPath path : {LstmPath::fastest, LstmPath::steps}) {
      const LstmWeights weights{random_on(run, {20, 4}, 1, 1), random_on(run, {20, 5}, 2, 1),
                                random_on(run, {20}, 3, 1), random_on(run, {20}, 4, 1)};
      const Tensor x = random_on(run, {6, 2, 4}, 5), h0 = random_on(run, {2, 5}, 6, 1),
                   c0 = random_on(run, {2, 5}, 7);
      LstmResult y;
      const Heard heard = heard_from([&] { y = lstm(x, weights, h0, c0, path); });
      REQUIRE(heard.size() == 5);
      const auto gate = [&heard](const char* name, int64_t i) {
        return at(heard.at(std::string("lstm.") + name), i);
      };
      const Tensor c = heard.at("lstm.cell"), before = states_before(c, host(c0));
      const Tensor expected_c = zeros_like(c), expected_h = zeros_like(c);
      for (int64_t i = 0; i < c.numel(); ++i) {
        expected_c.data<double>()[i] =
            gate("forget", i) * at(before, i) + gate("input", i) * gate("candidate", i);
        expected_h.data<double>()[i] = gate("output", i) * std::tanh(at(c, i));
      }
      CHECK(relative_error(c, expected_c) < run.tolerance);
      CHECK(relative_error(y.h, expected_h) < run.tolerance);
      CHECK(relative_error(y.c_last, c.view_rows(5, 6).view_as({2, 5})) < run.tolerance);
    }
}

TEST_CASE("offered values: gated_delta_rule's lengths are those of the states after each step") {
  for (const Run& run : runs())
    for (const bool starts : {true, false}) {
      const int64_t steps = 37, batch = 2, heads = 3, dk = 4, dv = 5;  // more than a chunk
      const Tensor q = random_on(run, {steps, batch, heads * dk}, 1, 0.5),
                   k = random_on(run, {steps, batch, heads * dk}, 2, 0.5),
                   v = random_on(run, {steps, batch, heads * dv}, 3),
                   s0 = starts ? Tensor() : random_on(run, {batch, heads * dk * dv}, 4);
      const auto between = [&run](double lo, double hi, uint64_t seed) {
        return random_tensor({37, 2, 3}, DType::f64, seed, lo, hi).to(run.dtype).to(run.device);
      };
      const Tensor log_decay = between(-1, 0, 5), beta = between(0, 1, 6);
      const Heard heard = heard_from([&] { gated_delta_rule(q, k, v, log_decay, beta, s0); });
      REQUIRE(heard.size() == 3);
      CHECK(relative_error(heard.at("gated_delta_rule.beta"), beta) == 0);
      const Tensor decay = heard.at("gated_delta_rule.decay"), norm = heard.at("gated_delta_rule.state_norm");
      for (int64_t i = 0; i < decay.numel(); ++i)
        CHECK(at(decay, i) == doctest::Approx(std::exp(at(host(log_decay), i))).epsilon(1e-12));
      for (int64_t t = 1; t <= steps; ++t) {
        const auto first = [t](const Tensor& x) { return x.view_rows(0, t); };
        const Tensor state =
            host(gated_delta_rule(first(q), first(k), first(v), first(log_decay), first(beta), s0).state);
        for (int64_t head = 0; head < batch * heads; ++head) {
          double squares = 0;
          for (int64_t i = head * dk * dv; i < (head + 1) * dk * dv; ++i)
            squares += at(state, i) * at(state, i);
          CHECK(at(norm, (t - 1) * batch * heads + head) ==
                doctest::Approx(std::sqrt(squares)).epsilon(run.tolerance));
        }
      }
    }
}

}  // namespace
}  // namespace tandem::testing
