// The frame of recurrent language models: segments with carried state, and generation step by step.
#include "models/recurrent_model.h"

#include "autograd/recompute.h"
#include "core/check.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/weights.h"

namespace tandem {
namespace {

// Dropout sites: two of the frame, then kSites for each layer.
constexpr uint32_t kEmbedding = 0;
constexpr uint32_t kOutput = 1;
constexpr uint32_t kFirstLayer = 2;

std::string part_name(const char* what, size_t layer) {
  return fmt::format("{}.{}", what, layer);
}

// `dtype` is that of the activations: memory may come from a run in another precision.
std::vector<LayerState> unpack(const State& state, size_t layers, int64_t batch, DType dtype) {
  std::vector<LayerState> all(layers);
  for (const NamedTensor& part : state.parts) {
    const Tensor& value = part.value;
    CHECK(value.size(-2) == batch, "state: {} is {}, but the batch has {} rows; start with an empty state",
          part.name, value.str(), batch);
    bool known = false;
    for (size_t i = 0; i < layers && !known; ++i) {
      if (part.name == part_name("c", i)) all[i].c = value, known = true;
      if (part.name == part_name("memory", i)) all[i].memory = value.to(dtype), known = true;
    }
    CHECK(known, "state: part {} does not belong to this model of {} layers", part.name, layers);
  }
  return all;
}

}  // namespace

RecurrentModel::RecurrentModel(Parts parts) : parts_(std::move(parts)) {
  add_parameter("embedding.weight", parts_.embedding);
  for (size_t i = 0; i < parts_.layers.size(); ++i) add_child(fmt::format("layers.{}", i), *parts_.layers[i]);
  add_parameter("output.weight", parts_.output);
  add_parameter("output.bias", parts_.output_bias);
}

Tensor RecurrentModel::logits(const Tensor& tokens, State& state, const Pass& pass) const {
  CHECK(tokens.rank() == 2, "logits: tokens must be (T, B), got {}", tokens.str());
  const DType dtype = activation_dtype(parts_.embedding);
  const std::vector<LayerState> states = unpack(state, parts_.layers.size(), tokens.size(1), dtype);
  const double p = pass.training ? parts_.dropout : 0;
  State next;
  Tensor x = dropout(embedding(tokens, parts_.embedding, dtype), p, {pass.seed, pass.step, kEmbedding});
  for (size_t i = 0; i < parts_.layers.size(); ++i) {
    const RecurrentLayer* layer = parts_.layers[i].get();
    const LayerState& before = states[i];
    const uint32_t site = kFirstLayer + static_cast<uint32_t>(i) * RecurrentLayer::kSites;
    const auto run = [layer, before, pass, site](const std::vector<Tensor>& inputs) -> std::vector<Tensor> {
      const RecurrentLayer::Output out = layer->forward(inputs[0], before, pass, site);
      return {out.h, out.c};
    };
    const std::vector<Tensor> out = pass.recompute ? recompute("layer", run, {x}) : run({x});
    next.parts.push_back({part_name("c", i), out[1].detach()});
    if (layer->attends()) next.parts.push_back({part_name("memory", i), x.detach()});
    x = out[0];
  }
  state = std::move(next);
  return linear(dropout(x, p, {pass.seed, pass.step, kOutput}), parts_.output, parts_.output_bias);
}

double RecurrentModel::forward_flops(int64_t steps) const {
  double sum = 2.0 * static_cast<double>(parts_.output.numel());
  for (const auto& layer : parts_.layers) sum += layer->forward_flops(steps);
  return sum;
}

class RecurrentModel::StepDecoder : public Decoder {
 public:
  StepDecoder(const RecurrentModel& model, int64_t batch, int64_t visible_keys)
      : model_(model), batch_(batch) {
    for (const auto& layer : model.parts_.layers) caches_.push_back(layer->make_cache(batch, visible_keys));
  }

  Tensor step(const Tensor& tokens) override {
    CHECK(tokens.shape() == Shape({batch_}), "generation: expected one token for each of {} rows, got {}",
          batch_, tokens.str());
    NoGrad pause;
    const Tensor& table = model_.parts_.embedding;
    Tensor x = embedding(tokens.alias_shape({1, batch_}), table, activation_dtype(table));
    for (size_t i = 0; i < caches_.size(); ++i) x = model_.parts_.layers[i]->step(x, caches_[i]);
    const Tensor y = linear(x, model_.parts_.output, model_.parts_.output_bias);
    return y.alias_shape({batch_, y.size(-1)});
  }

 private:
  const RecurrentModel& model_;
  int64_t batch_;
  std::vector<LayerCache> caches_;
};

std::unique_ptr<Decoder> RecurrentModel::decoder(int64_t batch, int64_t visible_keys) const {
  return std::make_unique<StepDecoder>(*this, batch, visible_keys);
}

}  // namespace tandem
