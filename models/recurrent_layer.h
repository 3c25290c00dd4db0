// RecurrentLayer: what a layer of a recurrent language model offers: one segment at a time for training and
// evaluation, one token at a time for generation.
#pragma once
#include "models/language_model.h"

namespace tandem {

// What one layer carries to the next segment; undefined tensors at the start of a text.
struct LayerState {
  Tensor c;  // (B, D) cell state
  Tensor
      memory;  // (M, B, D) the layer's input of the last segment; undefined in a layer that does not attend
};

// What one layer keeps while generating.
struct LayerCache {
  Tensor c;            // (B, D)
  Tensor keys_values;  // (capacity, B, 2D') ring of the last keys and values; undefined where the layer does
                       // not attend
  int64_t seen = 0;    // tokens so far
};

class RecurrentLayer : public Module {
 public:
  struct Output {
    Tensor h;
    Tensor c;
  };
  // x (T, B, D) to h (T, B, D) and the last c. `site` is the first of kSites dropout sites that are this
  // layer's own.
  static constexpr uint32_t kSites = 4;
  virtual Output forward(const Tensor& x, const LayerState& state, const Pass& pass, uint32_t site) const = 0;
  // One time step: x (1, B, D). Moves the cache on.
  virtual Tensor step(const Tensor& x, LayerCache& cache) const = 0;
  virtual LayerCache make_cache(int64_t batch, int64_t visible_keys) const = 0;
  virtual double forward_flops(int64_t steps) const = 0;  // see LanguageModel
  virtual bool attends() const = 0;
};

}  // namespace tandem
