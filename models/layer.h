// Layer: one layer of a language model: a segment at a time for training and evaluation, a token at a time
// for generation. LayeredModel makes a model of a stack of them.
#pragma once
#include "models/language_model.h"

namespace tandem {

// What a layer carries to the next segment, in the order of its state_names(): (rows, B, D) or (B, D),
// without gradient. Empty, or a tensor undefined, at the start of a text.
using LayerState = std::vector<Tensor>;

class LayerDecoder {
 public:
  virtual ~LayerDecoder() = default;
  // The next time step: x (1, B, D) to (1, B, D).
  virtual Tensor step(const Tensor& x) = 0;
};

class Layer : public Module {
 public:
  // The dropout sites, and keys of other random numbers, that are a layer's own.
  static constexpr uint32_t kSites = 16;

  struct Output {
    Tensor h;
    LayerState state;
  };
  // x (T, B, D) to h (T, B, D), D being each its own. `site` is the first of the layer's kSites.
  virtual Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& pass,
                         uint32_t site) const = 0;

  // Names of the parts of the state: "c", "memory", ...
  virtual std::vector<std::string> state_names() const = 0;
  // The dtype in which a part may wait for the next segment, whose bits are the same with it.
  virtual DType waiting_dtype(const std::string& part, DType dtype) const;

  // By default, forward() with T = 1 and the state carried: right for layers whose state is all they know of
  // the past and whose cost does not grow with it.
  virtual std::unique_ptr<LayerDecoder> decoder(int64_t batch, const AttentionContext& context) const;

  // Of one token, see LanguageModel::forward_flops().
  virtual double forward_flops(int64_t steps, int64_t memory) const = 0;
};

// Entry i of a state, undefined where there is none.
inline Tensor part(const LayerState& state, size_t i) {
  return i < state.size() ? state[i] : Tensor();
}

// The rows that a layer keeps of (old, x), both (rows, B, D), for the next segment: the last ones, as many as
// the context says, in x's dtype. `old` may be undefined. Without gradient.
Tensor next_memory(const Tensor& old, const Tensor& x, const AttentionContext& context);

}  // namespace tandem
