// The frame of language models: segments with carried state, and generation step by step.
#include "models/layered_model.h"

#include <algorithm>

#include "autograd/recompute.h"
#include "autograd/tape.h"
#include "core/check.h"
#include "ops/dropout.h"
#include "ops/support/weight_cache.h"

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

// Of the parts of a state, that of a layer; the end where there is none.
template <class Parts>
auto find_part(Parts& parts, const std::string& what, size_t layer) {
  return std::find_if(parts.begin(), parts.end(),
                      [wanted = part_name(what, layer)](const NamedTensor& e) { return e.name == wanted; });
}

// The state of each layer, in its own order.
std::vector<LayerState> unpack(const State& state, const std::vector<std::unique_ptr<Layer>>& layers,
                               int64_t batch) {
  std::vector<LayerState> all(layers.size());
  size_t known = 0;
  for (size_t i = 0; i < layers.size(); ++i)
    for (const std::string& name : layers[i]->state_names()) {
      const auto found = find_part(state.parts, name, i);
      all[i].push_back(found == state.parts.end() ? Tensor() : found->value);
      known += found != state.parts.end();
    }
  for (const NamedTensor& entry : state.parts)
    CHECK(entry.value.size(-2) == batch,
          "state: {} is {}, but the batch has {} rows; start with an empty state", entry.name,
          entry.value.str(), batch);
  CHECK(known == state.parts.size(),
        "state: of its {} parts ({}, ...) only {} belong to this model of {} layers", state.parts.size(),
        state.parts[0].name, known, layers.size());
  return all;
}

}  // namespace

LayeredModel::LayeredModel(Parts parts) : parts_(std::move(parts)) {
  add_child("embedding", *parts_.embedding);
  for (size_t i = 0; i < parts_.layers.size(); ++i) add_child(fmt::format("layers.{}", i), *parts_.layers[i]);
  add_child("output", *parts_.output);
}

Tensor LayeredModel::hidden(const Tensor& tokens, State& state, const ForwardOptions& pass) const {
  CHECK(tokens.rank() == 2, "language model: tokens must be (T, B), got {}", tokens.str());
  CHECK(!pass.context.same_length || pass.context.memory >= 0,
        "language model: queries that see equally many keys need a memory that is given, got {}",
        pass.context.memory);
  const std::vector<LayerState> states = unpack(state, parts_.layers, tokens.size(1));
  State next;
  Tensor x = dropout(parts_.embedding->forward(tokens, pass, kClusters),
                     pass.training ? parts_.input_dropout : 0, {pass.seed, pass.step, kEmbedding});
  for (size_t i = 0; i < parts_.layers.size(); ++i) {
    const Layer* layer = parts_.layers[i].get();
    const LayerState& before = states[i];
    const uint32_t site = kFirstLayer + static_cast<uint32_t>(i) * Layer::kSites;
    // The output, then the parts of the state that there are.
    const auto run = [layer, before, pass, site](const std::vector<Tensor>& inputs) -> std::vector<Tensor> {
      Layer::Output out = layer->forward(inputs[0], before, pass, site);
      std::vector<Tensor> all = {out.h};
      for (const Tensor& value : out.state)
        if (value.defined()) all.push_back(value);
      return all;
    };
    const std::vector<Tensor> out = pass.recompute ? recompute("layer", run, {x}) : run({x});
    const std::vector<std::string> names = layer->state_names();
    for (size_t j = 1; j < out.size(); ++j)
      next.parts.push_back({part_name(names[j - 1], i), out[j].detach()});
    x = out[0];
  }
  state = std::move(next);
  return dropout(x, pass.training ? parts_.output_dropout : 0, {pass.seed, pass.step, kOutput});
}

Tensor LayeredModel::logits(const Tensor& tokens, State& state, const ForwardOptions& pass) const {
  return parts_.output->logits(hidden(tokens, state, pass));
}

Tensor LayeredModel::loss(const Tensor& tokens, const Tensor& targets, State& state,
                          const ForwardOptions& pass) const {
  return parts_.output->loss(hidden(tokens, state, pass), targets, pass, kOutputClusters);
}

Tensor LayeredModel::token_losses(const Tensor& tokens, const Tensor& targets, State& state,
                                  const ForwardOptions& pass) const {
  NoGrad pause;
  return parts_.output->token_losses(hidden(tokens, state, pass), targets);
}

bool LayeredModel::carries_state() const {
  return std::any_of(parts_.layers.begin(), parts_.layers.end(),
                     [](const auto& layer) { return !layer->state_names().empty(); });
}

State LayeredModel::waiting(State state) const {
  for (size_t i = 0; i < parts_.layers.size(); ++i)
    for (const std::string& name : parts_.layers[i]->state_names()) {
      const auto found = find_part(state.parts, name, i);
      if (found == state.parts.end()) continue;
      Tensor& value = found->value;
      value = value.to(parts_.layers[i]->waiting_dtype(name, value.dtype()));
    }
  return state;
}

double LayeredModel::forward_flops(int64_t steps, int64_t memory) const {
  double sum = parts_.output->forward_flops();
  for (const auto& layer : parts_.layers) sum += layer->forward_flops(steps, memory);
  return sum;
}

class LayeredModel::StepDecoder : public Decoder {
 public:
  StepDecoder(const LayeredModel& model, int64_t batch, const AttentionContext& context)
      : model_(model), batch_(batch), context_(context) {
    context_.same_length = true;
    start();
  }

  Tensor step(const Tensor& tokens) override {
    CHECK(tokens.shape() == Shape({batch_}), "generation: expected one token for each of {} rows, got {}",
          batch_, tokens.str());
    NoGrad pause;
    const GenerationScope generation;
    if (!model_.carries_state()) make_room(tokens);
    const Tensor y = model_.parts_.output->logits(read(tokens));
    return y.view_as({batch_, y.size(-1)});
  }

 private:
  void start() {
    layers_.clear();
    for (const auto& layer : model_.parts_.layers) layers_.push_back(layer->decoder(batch_, context_));
  }

  Tensor read(const Tensor& tokens) {
    Tensor x = model_.parts_.embedding->forward(tokens.view_as({1, batch_}), ForwardOptions{}, kClusters);
    for (const auto& layer : layers_) x = layer->step(x);
    return x;
  }

  // Where positions are counted from the beginning of the segment there must be an end: the last M tokens are
  // then read again as the beginning of a new one.
  void make_room(const Tensor& tokens) {
    const auto memory = static_cast<size_t>(context_.memory);
    const auto segment = context_.segment > 0 ? static_cast<size_t>(context_.segment) : memory;
    if (past_.size() == memory + segment) {
      past_.erase(past_.begin(), past_.end() - static_cast<std::ptrdiff_t>(memory));
      start();
      for (const Tensor& earlier : past_) read(earlier);
    }
    past_.push_back(tokens.clone());
  }

  const LayeredModel& model_;
  int64_t batch_;
  AttentionContext context_;
  std::vector<std::unique_ptr<LayerDecoder>> layers_;
  std::vector<Tensor> past_;  // of a model that carries no state
};

std::unique_ptr<Decoder> LayeredModel::decoder(int64_t batch, const AttentionContext& context) const {
  CHECK(context.memory >= 0, "generation: needs to be told a memory of 0 or more tokens, got {}",
        context.memory);
  return std::make_unique<StepDecoder>(*this, batch, context);
}

}  // namespace tandem
