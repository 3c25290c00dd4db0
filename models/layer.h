// Layer: one layer of a language model. It runs a segment at a time in training and evaluation, and a token
// at a time in generation. LayeredModel makes a model of a stack of layers.
#pragma once
#include "tandem/models/language_model.h"

namespace tandem {

// What a layer carries to the next segment, in the order of its state_names(): tensors without gradient,
// (rows, B, D) or (B, D). Empty, or an undefined tensor, at the start of a text.
using LayerState = std::vector<Tensor>;

class LayerDecoder {
 public:
  virtual ~LayerDecoder() = default;
  // Computes the next T time steps: x (T, B, D) to (T, B, D). T is 1, or the length of a piece of a prompt.
  virtual Tensor step(const Tensor& x) = 0;

  // As Decoder::keep() and Decoder::append(), which check the rows. Error: the defaults refuse; another kind of decoder.
  virtual void keep(std::span<const int64_t> rows);
  virtual void append(LayerDecoder& other);

 protected:
  // Returns the other decoder as one of this kind. Error: it is of another kind.
  template <class D>
  static D& as(LayerDecoder& other) {
    D* const same = dynamic_cast<D*>(&other);
    if (!same) refuse_other_kind();
    return *same;
  }

 private:
  [[noreturn]] static void refuse_other_kind();
};

class Layer : public Module {
 public:
  // Number of dropout sites that are reserved for a layer. A site is part of the key of a mask.
  static constexpr uint32_t kSites = 16;

  struct Output {
    Tensor h;
    LayerState state;
  };
  // Maps x (T, B, D_in) to h (T, B, D_out). `site` is the first of the layer's kSites.
  virtual Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                         uint32_t site) const = 0;

  // Names the parts of the state: "c", "memory", ...
  virtual std::vector<std::string> state_names() const = 0;

  // True if forward() uses the part "memory" in matrix products alone, see compact_state().
  bool only_multiplies_memory() const { return only_multiplies_memory_; }

  // The default calls forward() with T = 1 and carries the state. It suits layers whose state is all they
  // know of the past and whose cost does not grow with it.
  virtual std::unique_ptr<LayerDecoder> decoder(int64_t batch, const AttentionContext& context) const;

  // Returns the operations per token, see LanguageModel::forward_flops().
  virtual double forward_flops(int64_t steps, int64_t memory) const = 0;

 protected:
  bool only_multiplies_memory_ = false;
};

// Returns entry i of a state; undefined if there is none.
inline Tensor part(const LayerState& state, size_t i) {
  return i < state.size() ? state[i] : Tensor();
}

// Returns the last rows of (old, x), both (rows, B, D), that a layer keeps for the next segment: as many as
// the context says, in x's dtype, without gradient. `old` may be undefined.
Tensor next_memory(const Tensor& old, const Tensor& x, const AttentionContext& context);

// Returns how many keys a query of a causal segment sees on average: the memory, itself and half of the
// other steps.
double mean_visible_keys(int64_t steps, double memory);

}  // namespace tandem
