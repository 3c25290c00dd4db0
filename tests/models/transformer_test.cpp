// Transformers: published parameter counts, initial values, what the options mean, the cache of keys, errors.
#include "tandem/models/transformer/transformer.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tandem/core/array.h"
#include "tandem/models/evolved_transformer/evolved_transformer.h"
#include "tandem/models/layers/positions.h"
#include "tandem/models/layers/self_attention.h"
#include "tandem/models/registry.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/layer_norm.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/relative_attention.h"
#include "tandem/testing/max_difference.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/parameter_count.h"
#include "tests/support/small_models.h"

namespace tandem::testing {
namespace {

Tensor parameter(const Module& model, const std::string& name) {
  for (const NamedTensor& p : model.parameters())
    if (p.name == name) return p.value;
  throw std::runtime_error("no parameter " + name);
}

struct Moments {
  double mean = 0, deviation = 0;
};

Moments moments_of(const Tensor& x) {
  Moments m;
  const std::vector<double> values = x.to(DType::f64).to_vector<double>();
  const auto n = static_cast<double>(values.size());
  for (const double v : values) m.mean += v / n;
  for (const double v : values) m.deviation += (v - m.mean) * (v - m.mean) / n;
  m.deviation = std::sqrt(m.deviation);
  return m;
}

std::string refusal(const std::string& text) {
  return error_of([&text] { make_model(text, 1); });
}

}  // namespace

MODEL_CASES(transformer) {
  add_small_model(R"({"model":"transformer","layers":2,"d":16,"heads":2,"d_head":8,"d_inner":24})");
  add_small_model(R"({"model":"transformer","layers":1,"d":16,"heads":2,"d_head":6,"d_inner":24,
                      "conv_width":2})");
  add_small_model(R"({"model":"transformer-xl","layers":2,"d":16,"heads":2,"d_head":8,"d_inner":24})");
  add_small_model(R"({"model":"transformer-xl","layers":2,"d":16,"heads":1,"d_head":12,
                      "d_inner":24,"norm":"before","shared_position_bias":false,
                      "attention_bias":true,"activation":"gelu"})");
  add_small_model(R"({"model":"primer-ez","layers":2,"d":16,"heads":2,"d_head":8,"d_inner":24})");
  add_small_model(R"({"model":"primer","layers":2,"d":16,"heads":2,"d_head":8,"d_inner":24})");
  add_small_model(R"({"model":"primer","layers":1,"d":16,"heads":2,"d_head":8,"d_inner":24,
                      "attention_bias":true})");
  add_small_model(R"({"model":"evolved-transformer","blocks":1,"d":16,"heads":2})");
  add_small_model(R"({"model":"evolved-transformer","blocks":1,"d":16,"heads":2,"inner_norm":true})");
  // Adaptive input and output.
  add_small_model(R"({"model":"transformer","layers":1,"d":16,"heads":2,"d_head":8,"d_inner":24,
                      "cutoffs":[5],"band_divisor":4,"tied":true,
                      "tied_projections":"tails","adaptive":"baevski"})");
  add_small_model(R"({"model":"transformer-xl","layers":2,"d":16,"heads":2,"d_head":8,
                      "d_inner":24,"cutoffs":[3,7]})");
  add_small_model(R"({"model":"transformer-xl","layers":2,"d":16,"heads":2,"d_head":8,
                      "d_inner":24,"cutoffs":[3,7],"band_divisor":2,"tied_projections":"tails"})");
}

TEST_CASE("transformer-xl: parameter counts are the published ones") {
  CHECK(parameter_count("transformer-xl", "base", 204) == 41055436);
  CHECK(parameter_count("transformer-xl", "large", 204) == 277231820);
}

TEST_CASE("primer: filters and shared queries take what the paper says") {
  const int64_t v = 100, width = 8 * 64, layers = 6;
  TransformerConfig plain = TransformerConfig::of("primer-ez");
  plain.layers = layers;
  plain.vocabulary = v;
  const auto count = [](const TransformerConfig& config) {
    return make_transformer(config, 1)->parameter_count();
  };
  const int64_t ez = count(plain);
  plain.conv_width = 0;
  CHECK(ez - count(plain) == layers * 9 * width);
  // Full Primer has W_s in place of W_k, and no separate filter for keys.
  TransformerConfig primer = TransformerConfig::of("primer");
  primer.layers = layers;
  primer.vocabulary = v;
  CHECK(count(primer) == ez + layers * (width * width - 512 * width - 3 * width));
  CHECK(parameter_count("primer", "small", v) == count(primer));
}

TEST_CASE("evolved-transformer: a block has the published parameters, and those of relative positions") {
  EvolvedTransformerConfig config;
  config.vocabulary = 100;
  const auto count = [&config](int64_t blocks) {
    config.blocks = blocks;
    return make_evolved_transformer(config, 1)->parameter_count();
  };
  const int64_t d = 512, block = count(2) - count(1);
  const int64_t convolutions =
      11 * d + 2 * d * d + 7 * d + d * d / 2 + 7 * 2 * d + 2 * d * d + 2 * 2 * d + 2 * d;
  const int64_t attention = 4 * d * d + 2 * d, relative = d * d + 2 * d;
  const int64_t feed_forward = 8 * d * d + 5 * d + 2 * d;
  CHECK(block == convolutions + 2 * (attention + relative) + feed_forward);
  CHECK(convolutions == 1199104);  // 1.20M
  CHECK((block - 2 * relative + 5000) / 10000 == 540);
}

TEST_CASE("transformer: initial values are the authors'") {
  TransformerConfig config = TransformerConfig::of("transformer-xl");
  config.vocabulary = 200;
  config.d = 256;
  config.d_inner = 512;
  config.layers = 2;
  auto model = make_transformer(config, 7);
  for (const char* name : {"embedding.weight", "layers.0.query.weight", "layers.3.out.weight"}) {
    CAPTURE(name);
    const Moments m = moments_of(parameter(*model, name));
    CHECK(std::abs(m.mean) < 1e-3);
    CHECK(m.deviation == doctest::Approx(0.02).epsilon(0.02));
  }
  const Moments gain = moments_of(parameter(*model, "layers.0.residual.norm.gain"));
  CHECK(gain.mean == doctest::Approx(1).epsilon(0.005));
  CHECK(gain.deviation == doctest::Approx(0.02).epsilon(0.2));
  CHECK(moments_of(parameter(*model, "layers.0.content_bias")).deviation ==
        doctest::Approx(0.02).epsilon(0.2));
  CHECK(moments_of(parameter(*model, "layers.1.in.bias")).deviation == 0);

  const TransformerConfig sizes = config;
  config = TransformerConfig::of("transformer");
  config.vocabulary = 200;
  config.d = sizes.d;
  config.d_inner = sizes.d_inner;
  config.layers = 2;
  model = make_transformer(config, 7);
  CHECK(moments_of(parameter(*model, "embedding.weight")).deviation ==
        doctest::Approx(1.0 / 16).epsilon(0.02));
  // Uniform in (-b, b), b = sqrt(6 / (in + out)): the deviation is b / sqrt(3).
  CHECK(moments_of(parameter(*model, "layers.2.in.weight")).deviation ==
        doctest::Approx(std::sqrt(2.0 / (256 + 512))).epsilon(0.02));
  CHECK(moments_of(parameter(*model, "layers.1.residual.norm.gain")).deviation == 0);
  CHECK(moments_of(parameter(*model, "layers.1.query.bias")).deviation == 0);

  config = TransformerConfig::of("primer-ez");
  config.vocabulary = 20;
  config.d = 16;
  const Tensor filter = parameter(*make_transformer(config, 7), "layers.0.key_value.filter").to(DType::f64);
  CHECK(filter.shape() == Shape({2 * 8 * 64, 3}));
  CHECK(filter.data<double>()[3] == doctest::Approx(0.5 / 3));
  CHECK(filter.data<double>()[4] == doctest::Approx(0.5 / 3));
  CHECK(filter.data<double>()[5] == 0.5);
}

TEST_CASE("self-attention: Primer's is its definition, step by step") {
  constexpr int64_t kT = 5, kB = 2, kD = 6, kHeads = 2, kWidth = 8;
  TokenConfig f64;
  f64.dtype = DType::f64;
  InitialValues values(f64, 0.3, 3);
  const SelfAttentionConfig config = {
      .d = kD, .heads = kHeads, .d_head = 4, .conv_width = 3, .shared_qk = true, .residual = {.eps = 1e-6}};
  const SelfAttention layer(config, std::make_shared<const Sinusoids>(kD), values);
  const Tensor filters = random_tensor({kWidth, 3}, DType::f64, 5);
  copy(parameter(layer, "query.filter"), filters);
  const Tensor x = random_tensor({kT, kB, kD}, DType::f64, 1);
  const Tensor got = layer.forward(x, {}, {}, 0).h;

  // y_t = w_0 p_t + w_1 p_{t-1} + w_2 p_{t-2}; the filter's last tap is w_0.
  const auto filtered = [](const Tensor& p, const Tensor& w) {
    return tensor_from(p.shape(), [&](int64_t i) {
      const int64_t row = p.size(1) * p.size(2), channel = i % p.size(2);
      double y = 0;
      for (int64_t back = 0; back < 3 && i - back * row >= 0; ++back)
        y += w.data<double>()[channel * 3 + 2 - back] * p.data<double>()[i - back * row];
      return y;
    });
  };
  LayerNormOptions options;
  options.eps = 1e-6;
  const Tensor n =
      layer_norm(x, parameter(layer, "residual.norm.gain"), parameter(layer, "residual.norm.bias"), options);
  const Tensor base = filtered(linear(n, parameter(layer, "query.weight")), filters);
  const Tensor value =
      filtered(linear(n, parameter(layer, "value.weight")), parameter(layer, "value.filter"));
  const Tensor kv = tensor_from({kT, kB, 2 * kWidth}, [&](int64_t i) {
    const int64_t row = i / (2 * kWidth), column = i % (2 * kWidth);
    return column < kWidth ? base.data<double>()[row * kWidth + column]
                           : value.data<double>()[row * kWidth + column - kWidth];
  });
  const Tensor table = tensor_from({kT, kD}, [](int64_t i) {
    const int64_t p = i / kD, k = i % kD;
    const float w = 1.0f / std::pow(10000.0f, static_cast<float>(2 * (k % 3)) / 6.0f);
    return k < 3 ? std::sin(static_cast<double>(p) * w) : std::cos(static_cast<double>(p) * w);
  });
  AttentionOptions heads;
  heads.heads = kHeads;
  const Tensor attended = relative_attention(
      linear(base, parameter(layer, "shared.weight")), kv, linear(table, parameter(layer, "position.weight")),
      parameter(layer, "content_bias"), parameter(layer, "position_bias"), heads);
  CHECK(relative_error(got, x + linear(attended, parameter(layer, "output.weight"))) < 1e-13);
}

TEST_CASE("residual: the norm before, after and inside") {
  TokenConfig f64;
  f64.dtype = DType::f64;
  const Tensor x = random_tensor({3, 2, 4}, DType::f64, 1), y = random_tensor({3, 2, 4}, DType::f64, 2);
  const auto residual = [&](NormPlacement placement) {
    InitialValues values(f64, 0.1, 3);
    return std::make_unique<Residual>(4, ResidualConfig{.norm = placement}, values);
  };
  InitialValues values(f64, 0.1, 3);
  const Norm norm(4, 1e-5, values);
  CHECK(relative_error(residual(NormPlacement::before)->input(x), norm(x)) < 1e-14);
  CHECK(relative_error(residual(NormPlacement::after)->input(x), x) == 0);
  CHECK(relative_error(residual(NormPlacement::inside)->input(x), x) == 0);
  CHECK(relative_error(residual(NormPlacement::before)->sum(x, y, {}, 0), x + y) < 1e-14);
  CHECK(relative_error(residual(NormPlacement::after)->sum(x, y, {}, 0), norm(x + y)) < 1e-14);
  CHECK(relative_error(residual(NormPlacement::inside)->sum(x, y, {}, 0), x + norm(y)) < 1e-14);
}

TEST_CASE("positions: sinusoids by row, kept where they are while the table grows") {
  const Sinusoids sinusoids(6);
  const Tensor small = sinusoids.rows(3, 2, DType::f64, Device::cpu());
  CHECK(small.shape() == Shape({3, 2, 6}));
  const void* place = small.raw();
  const Tensor large = sinusoids.rows(100, 2, DType::f64, Device::cpu());
  CHECK(sinusoids.rows(3, 2, DType::f64, Device::cpu()).raw() == place);
  CHECK(relative_error(large.view_rows(0, 3), small) == 0);
  const double* row = large.data<double>() + (99 * 2 + 1) * 6;
  for (int k = 0; k < 3; ++k) {
    const double angle = 99 * std::pow(10000.0, -2.0 * k / 6);
    CHECK(row[k] == doctest::Approx(std::sin(angle)).epsilon(1e-5));
    CHECK(row[3 + k] == doctest::Approx(std::cos(angle)).epsilon(1e-5));
  }
  CHECK(contains(error_of([] { Sinusoids odd(5); }), "width 5 must be even"));
}

TEST_CASE("transformers: configurations that do not fit are refused") {
  CHECK(contains(refusal(R"({"model":"transformer","vocabulary":5,"norm":"both"})"),
                 "transformer: norm \"both\" is not known; there are after, before, primer"));
  CHECK(contains(refusal(R"({"model":"primer","vocabulary":5,"activation":"swish"})"),
                 "activation \"swish\" is not known; there are gelu, relu, silu, squared_relu"));
  CHECK(contains(refusal(R"({"model":"transformer-xl","vocabulary":5,"positions":"none"})"),
                 "there are absolute, relative"));
  CHECK(contains(refusal(R"({"model":"transformer-xl","vocabulary":5,"norm":3})"), "wrong type: 3"));
  CHECK(contains(refusal(R"({"model":"transformer-xl","vocabulary":5,"heads":0})"), "heads 0 of width 64"));
  CHECK(contains(refusal(R"({"model":"primer-ez","vocabulary":5,"inner_dropout":1.5})"),
                 "primer-ez: inner dropout 1.5 must be in [0, 1)"));
  CHECK(contains(refusal(R"({"model":"primer-ez","vocabulary":5,"conv_width":-1})"), "of a filter -1"));
  CHECK(contains(refusal(R"({"model":"evolved-transformer","vocabulary":5,"d":24,"heads":8})"),
                 "d 24 must be a multiple of twice the 8 heads"));
  TransformerConfig narrow = TransformerConfig::of("primer");
  narrow.vocabulary = 5;
  narrow.frequencies = {1, 2};
  CHECK(contains(error_of([&narrow] { make_transformer(narrow, 1); }),
                 "2 frequencies of sinusoids, but d is 512"));
  CHECK(contains(error_of([] { TransformerConfig::of("gpt"); }), "gpt is not a model of this kind"));
  TransformerConfig config = TransformerConfig::of("transformer-xl");
  config.vocabulary = 5;
  config.d = 8;
  config.layers = 1;
  const auto model = make_transformer(config, 1);
  const Tensor tokens = zeros({2, 1}, DType::i32);
  State state;
  ForwardOptions pass;
  pass.context = {.memory = 0, .same_length = true};
  CHECK(contains(error_of([&] { model->logits(tokens, state, pass); }), "a query sees 0 keys"));
  CHECK(contains(error_of([&] { model->decoder(1, pass.context); }), "attention sees 0 keys"));
}

}  // namespace tandem::testing
