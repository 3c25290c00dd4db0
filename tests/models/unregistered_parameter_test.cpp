// A layer that forgets to register what it trains: the trainer's first steps refuse it, by shape and operator.
#include <doctest/doctest.h>

#include <cmath>

#include "tandem/autograd/leaf.h"
#include "tandem/autograd/recompute.h"
#include "tandem/models/layered_model.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/models/registry.h"
#include "tandem/ops/arithmetic.h"
#include "tests/support/errors.h"
#include "tests/support/small_models.h"
#include "tests/support/small_run.h"

namespace tandem::testing {
namespace {

// y = x gain, in which the gain, or the module that owns it, may not be registered.
class Gain : public Layer {
 public:
  enum class Mistake { none, parameter, child, second_step };

  Gain(int64_t d, Mistake mistake)
      : mistake_(mistake), owner_(d), unused_(requires_grad(full({d}, 1, DType::f32))) {
    if (mistake != Mistake::child) add_child("owner", owner_);
    if (mistake == Mistake::parameter) owner_.gain = unused_;
  }
  std::vector<std::string> state_names() const override { return {"last"}; }
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t) const override {
    const bool late = mistake_ == Mistake::second_step && part(before, 0).defined();
    const Tensor gain = late ? unused_ : owner_.gain;
    const auto f = [gain](const std::vector<Tensor>& in) { return std::vector<Tensor>{mul(in[0], gain)}; };
    const Tensor last = x.detach().view_rows(x.size(0) - 1, x.size(0)).view_as(x.shape().tail()).clone();
    return {options.recompute ? recompute("gain", f, {x})[0] : f({x})[0], {last}};
  }
  double forward_flops(int64_t, int64_t) const override { return 0; }

 private:
  struct Owner : Module {
    explicit Owner(int64_t d) : gain(add_parameter("gain", full({d}, 1, DType::f32))) {}
    Tensor gain;
  };
  Mistake mistake_;
  Owner owner_;
  Tensor unused_;
};

struct UnregisteredConfig : Configured<UnregisteredConfig> {
  int64_t mistake = 0;

  std::string model_name() const { return "unregistered"; }
  void fields(Fields& field) {
    token_fields(field);
    field("mistake", mistake);
  }
};

std::unique_ptr<LanguageModel> make_unregistered(const UnregisteredConfig& config, uint64_t seed) {
  Random random(seed);
  const Initializer rows = [&random, &config](Shape shape) { return uniform(random, shape, 0.25, config); };
  const FrameConfig frame = {.input_width = 16, .output_width = 16};
  return std::make_unique<LayeredModel>(config, config.text(), frame, rows, [&config](Layers& layers) {
    layers.push_back(std::make_unique<Gain>(16, static_cast<Gain::Mistake>(config.mistake)));
  });
}

std::vector<Preset> unregistered_presets() {
  return {{"laptop", UnregisteredConfig().text(), laptop_recipe(4e-3, 1000), "a test"}};
}

Trainer unregistered_trainer(int64_t mistake, bool recompute) {
  UnregisteredConfig model;
  model.vocabulary = 6;
  model.mistake = mistake;
  RunConfig config = small_run();
  config.model_config = model.text();
  config.recompute = recompute;
  return make_trainer(config);
}

}  // namespace
}  // namespace tandem::testing

TANDEM_MODELS(unregistered) {
  register_model("unregistered", testing::make_unregistered, testing::unregistered_presets);
}

namespace tandem::testing {

TEST_CASE(
    "trainer: a leaf that is no parameter of the model stops the first steps, also where layers are recomputed") {
  for (const bool recompute : {false, true}) {
    CAPTURE(recompute);
    Trainer right = unregistered_trainer(0, recompute);
    CHECK(losses(right, 3).size() == 3);
    for (const int64_t mistake : {1, 2}) {
      CAPTURE(mistake);
      Trainer wrong = unregistered_trainer(mistake, recompute);
      CHECK(contains(
          error_of([&wrong] { wrong.step(); }),
          "trainer: the loss depends on a leaf (16), used by mul, which is no parameter of the model"));
    }
    Trainer late = unregistered_trainer(3, recompute);
    late.step();
    CHECK(contains(error_of([&late] { late.step(); }), "a leaf (16), used by mul"));
  }
}

}  // namespace tandem::testing
