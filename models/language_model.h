// LanguageModel: from token ids to next-token losses, carrying state from one segment of the text to the
// next.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "models/module.h"

namespace tandem {

// How one forward pass is run.
struct Pass {
  bool training = false;  // dropout on
  uint64_t seed = 0;      // of the dropout masks, together with step
  uint32_t step = 0;      // counts micro-batches: each has its own masks
  // Keys that a query may see, its own included; 0 is the training mask: all memory and the past. Evaluation
  // with window W: segments of W tokens, W + 1 visible keys.
  int64_t visible_keys = 0;
  bool recompute = false;  // keep layer inputs only, and run each layer again in backward
};

// What carries over to the next segment, without gradient: cell states (B, D), and the memory of the
// attention layers, which is the layer's input of the last segment (T, B, D). Empty at the start of a text.
struct State {
  std::vector<NamedTensor> parts;
  bool empty() const { return parts.empty(); }
};

// Generates one token at a time: keys and values are cached instead of projected again.
class Decoder {
 public:
  virtual ~Decoder() = default;
  // Reads one token per row, (B) i32, and returns the logits of the next one, (B, V).
  virtual Tensor step(const Tensor& tokens) = 0;
};

class LanguageModel : public Module {
 public:
  // Logits (T, B, V) for tokens (T, B) i32. `state` is what the last segment left and becomes what this one
  // leaves. Error: token ids outside 0..V-1; a state of another batch size.
  virtual Tensor logits(const Tensor& tokens, State& state, const Pass& pass) const = 0;

  // Every query sees at most `visible_keys` keys, its own included (see Pass); 0 is an error where the model
  // attends.
  virtual std::unique_ptr<Decoder> decoder(int64_t batch, int64_t visible_keys) const = 0;

  // Mean negative log-likelihood in nats, a scalar, ready for backward: the training loss.
  Tensor loss(const Tensor& tokens, const Tensor& targets, State& state, const Pass& pass) const;
  // Negative log-likelihood of each target, (T, B), without gradient: evaluation.
  Tensor token_losses(const Tensor& tokens, const Tensor& targets, State& state, const Pass& pass) const;

  // Floating-point operations of the products that one token of a forward pass takes, of segments of `steps`
  // tokens with as many of memory: 2 m n k each, the masked part of attention left out. Training takes three
  // times as many.
  virtual double forward_flops(int64_t steps) const = 0;

  virtual int64_t vocabulary_size() const = 0;
  virtual DType dtype() const = 0;
  virtual Device device() const = 0;
  // JSON that make_model() builds this model from again.
  virtual std::string config() const = 0;
};

}  // namespace tandem
