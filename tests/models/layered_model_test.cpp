// The frame of language models: states keep their names whichever parts a layer leaves out, and their count is checked.
#include "tandem/models/layered_model.h"

#include <doctest/doctest.h>

#include "tandem/autograd/leaf.h"
#include "tandem/core/array.h"
#include "tandem/ops/arithmetic.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

constexpr int64_t kWidth = 4;

// Carries "first" only if asked to, "second" always: the number of segments so far, as a tensor (B, 3).
class CountingLayer : public Layer {
 public:
  CountingLayer(bool with_first, size_t parts) : with_first_(with_first), parts_(parts) {}

  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions&, uint32_t) const override {
    const Tensor old = part(before, 1);
    const double count = old.defined() ? old.to(DType::f64).to_vector<double>()[0] : 0;
    Output out{scale(x, 1), LayerState(parts_)};
    if (with_first_) out.state[0] = full({x.size(1), 2}, -1, DType::f32);
    for (size_t i = 1; i < parts_; ++i) out.state[i] = full({x.size(1), 3}, count + 1, DType::f32);
    return out;
  }
  std::vector<std::string> state_names() const override { return {"first", "second"}; }
  double forward_flops(int64_t, int64_t) const override { return 0; }

 private:
  bool with_first_;
  size_t parts_;
};

std::unique_ptr<LayeredModel> model_of(bool with_first, size_t parts) {
  TokenConfig tokens;
  tokens.vocabulary = 5;
  const FrameConfig frame = {.input_width = kWidth, .output_width = kWidth};
  return std::make_unique<LayeredModel>(
      tokens, "{}", frame,
      TokenInitializers([](Shape shape) { return requires_grad(full(shape, 0.1, DType::f32)); }),
      [with_first, parts](Layers& layers) {
        layers.push_back(std::make_unique<CountingLayer>(false, 2));
        layers.push_back(std::make_unique<CountingLayer>(with_first, parts));
      });
}

Tensor tokens() {
  return zeros({3, 2}, DType::i32);
}

}  // namespace

TEST_CASE("layered model: a part of a state that a layer leaves out does not give its name to the next") {
  for (const bool recompute : {false, true}) {
    const auto model = model_of(true, 2);
    State state;
    for (int segment = 1; segment <= 3; ++segment) {
      model->logits(tokens(), state, {.recompute = recompute});
      REQUIRE(state.parts.size() == 3);
      CHECK(state.parts[0].name == "second.0");
      CHECK(state.parts[1].name == "first.1");
      CHECK(state.parts[2].name == "second.1");
      CHECK(state.parts[1].value.shape() == Shape{2, 2});
      CHECK(state.parts[2].value.to_vector<float>() == std::vector<float>(6, static_cast<float>(segment)));
    }
  }
}

TEST_CASE("layered model: a segment of no steps or no rows is refused by name") {
  for (const Shape shape : {Shape{0, 2}, Shape{3, 0}, Shape{3}}) {
    State state;
    CHECK(contains(error_of([&] { model_of(true, 2)->logits(zeros(shape, DType::i32), state, {}); }),
                   "language model: tokens must be (T, B)"));
  }
}

TEST_CASE("layered model: a layer that returns more or fewer parts of a state than it names is refused") {
  for (const size_t parts : {1, 3}) {
    State state;
    CHECK(contains(
        error_of([&] { model_of(true, parts)->logits(tokens(), state, {}); }),
        "layer 1: its forward pass returns " + std::to_string(parts) + " parts of a state, and it names 2"));
  }
}

}  // namespace tandem::testing
