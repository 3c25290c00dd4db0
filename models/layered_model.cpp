// The frame of language models: segments with carried state. Generation is in step_decoder.cpp.
#include "tandem/models/layered_model.h"

#include <algorithm>

#include "tandem/autograd/recompute.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/check.h"
#include "tandem/core/tap.h"
#include "tandem/models/tensor_index.h"
#include "tandem/ops/dropout.h"

namespace tandem {
namespace {

// Dropout sites: those of the frame, then kSites for each layer.
constexpr uint32_t kEmbedding = 0;
constexpr uint32_t kOutput = 1;
constexpr uint32_t kClusters = 2;
constexpr uint32_t kOutputClusters = 3;
constexpr uint32_t kFirstLayer = 4;

std::string part_name(const std::string& what, size_t layer) {
  return fmt::format("{}.{}", what, layer);
}

// Returns the state of each layer, in the layer's own order.
std::vector<LayerState> unpack(const State& state, const Layers& layers, int64_t batch) {
  std::vector<LayerState> all(layers.size());
  const TensorIndex parts(state.parts, "state");
  size_t known = 0;
  for (size_t i = 0; i < layers.size(); ++i)
    for (const std::string& what : layers[i]->state_names()) {
      all[i].push_back(parts.find(part_name(what, i)));
      known += all[i].back().defined();
    }
  for (const NamedTensor& part : state.parts)
    TANDEM_CHECK(part.value.size(-2) == batch,
                 "state: {} is {}, but the batch has {} rows; start with an empty state", part.name,
                 part.value.summary(), batch);
  TANDEM_CHECK(known == state.parts.size(),
               "state: of its {} parts ({}, ...) only {} belong to this model of {} layers",
               state.parts.size(), state.parts[0].name, known, layers.size());
  return all;
}

}  // namespace

void check_layer_count(const std::string& model, int64_t layers) {
  constexpr int64_t kMost = 10'000;
  TANDEM_CHECK(layers > 0 && layers <= kMost, "{}: {} layers; give 1 to {}", model, layers, kMost);
}

LayeredModel::LayeredModel(const TokenConfig& tokens, std::string config_text, const FrameConfig& frame,
                           const TokenInitializers& values,
                           const std::function<void(Layers& layers)>& add_layers)
    : frame_(frame), vocabulary_(tokens.vocabulary), config_text_(std::move(config_text)) {
  embedding_ = std::make_unique<TokenEmbedding>(tokens, frame.input_width, frame.embedding_scale, values);
  add_layers(layers_);
  output_ = std::make_unique<TokenOutput>(tokens, frame.output_width, *embedding_, values, frame.output_bias);
  add_child("embedding", *embedding_);
  for (size_t i = 0; i < layers_.size(); ++i) add_child(fmt::format("layers.{}", i), *layers_[i]);
  add_child("output", *output_);
}

Tensor LayeredModel::hidden(const Tensor& tokens, State& state, const ForwardOptions& options) const {
  TANDEM_CHECK(tokens.rank() == 2 && tokens.numel() > 0,
               "language model: tokens must be (T, B), both at least 1, got {}", tokens.summary());
  TANDEM_CHECK(!options.context.same_length || options.context.memory >= 0,
               "language model: same_length needs a memory of 0 or more rows, got {}",
               options.context.memory);
  const std::vector<LayerState> states = unpack(state, layers_, tokens.size(1));
  State next;
  Tensor x = dropout(embedding_->forward(tokens, options, kClusters),
                     options.training ? frame_.input_dropout : 0, {options.seed, options.step, kEmbedding});
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer* layer = layers_[i].get();
    const LayerState& before = states[i];
    const uint32_t site = kFirstLayer + static_cast<uint32_t>(i) * Layer::kSites;
    const auto parts = std::make_shared<std::vector<std::string>>();  // names of the state's defined parts
    // Returns the output, then the defined parts of the state.
    const auto run = [layer, before, options, site, parts,
                      i](const std::vector<Tensor>& inputs) -> std::vector<Tensor> {
      const TapScope scope("layers", static_cast<int64_t>(i));
      Layer::Output out = layer->forward(inputs[0], before, options, site);
      const std::vector<std::string> names = layer->state_names();
      TANDEM_CHECK(out.state.size() == names.size(),
                   "layer {}: its forward pass returns {} parts of a state, and it names {}", i,
                   out.state.size(), names.size());
      parts->clear();
      std::vector<Tensor> all = {out.h};
      for (size_t j = 0; j < names.size(); ++j) {
        if (!out.state[j].defined()) continue;
        parts->push_back(part_name(names[j], i));
        all.push_back(out.state[j]);
      }
      return all;
    };
    const std::vector<Tensor> out = options.recompute ? recompute("layer", run, {x}) : run({x});
    for (size_t j = 1; j < out.size(); ++j) next.parts.push_back({(*parts)[j - 1], out[j].detach()});
    if (layer->only_multiplies_memory()) next.only_multiplied.push_back(part_name("memory", i));
    x = out[0];
    if (options.layer_outputs) options.layer_outputs->push_back(x);
  }
  state = std::move(next);
  return dropout(x, options.training ? frame_.output_dropout : 0, {options.seed, options.step, kOutput});
}

Tensor LayeredModel::logits(const Tensor& tokens, State& state, const ForwardOptions& options) const {
  return output_->logits(hidden(tokens, state, options));
}

std::vector<Tensor> LayeredModel::softmax_logits(const Tensor& tokens, State& state,
                                                 const ForwardOptions& options) const {
  return output_->softmax_logits(hidden(tokens, state, options), options, kOutputClusters);
}

Tensor LayeredModel::loss(const Tensor& tokens, const Tensor& targets, State& state,
                          const ForwardOptions& options) const {
  return output_->loss(hidden(tokens, state, options), targets, options, kOutputClusters);
}

Tensor LayeredModel::token_losses(const Tensor& tokens, const Tensor& targets, State& state,
                                  const ForwardOptions& options) const {
  NoGrad pause;
  return output_->token_losses(hidden(tokens, state, options), targets);
}

bool LayeredModel::carries_state() const {
  return std::any_of(layers_.begin(), layers_.end(),
                     [](const auto& layer) { return !layer->state_names().empty(); });
}

double LayeredModel::forward_flops(int64_t steps, int64_t memory) const {
  double sum = output_->forward_flops();
  for (const auto& layer : layers_) sum += layer->forward_flops(steps, memory);
  return sum;
}

}  // namespace tandem
