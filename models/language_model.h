// LanguageModel: from token ids to next-token losses, carrying state from one segment of the text to the
// next.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "models/module.h"

namespace tandem {

// How far back attention looks, and what it keeps for the next segment.
struct AttentionContext {
  // Rows of the past that an attention layer carries over; -1: as many as the segment has, which is how SRU++
  // and Transformer-XL are trained.
  int64_t memory = -1;
  // Evaluation: once the memory is full, every query sees equally many keys, as many as its model's authors
  // let it see: memory + 1 in SRU++, memory in Transformer-XL, its own included. Needs a memory that is
  // given.
  bool same_length = false;
  int64_t clamp = 0;  // relative positions: distances above it count as it; 0: all are told apart
  // Generation by a model that carries no state: tokens read beyond the memory before it begins anew with the
  // last `memory` tokens; 0: as many as the memory. Of evaluation, the window: no place is then beyond those
  // that it reads.
  int64_t segment = 0;

  int64_t memory_after(int64_t steps) const { return memory < 0 ? steps : memory; }
};

// How one forward pass is run.
struct ForwardOptions {
  bool training = false;  // dropout on
  uint64_t seed = 0;      // of the dropout masks, together with step
  uint32_t step = 0;      // counts micro-batches: each has its own masks
  AttentionContext context = {};
  bool recompute = false;  // keep layer inputs only, and run each layer again in backward
};

// What carries over to the next segment, without gradient, by name: "c.0" is the cell state (B, D) of layer
// 0, "memory.0" the past rows (M, B, D) that it attends to. Empty at the start of a text.
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
  // Logits (T, B, V) for tokens (T, B) i32; of an adaptive softmax, log-probabilities. `state` is what the
  // last segment left and becomes what this one leaves. Error: token ids outside 0..V-1; a state of another
  // batch size.
  virtual Tensor logits(const Tensor& tokens, State& state, const ForwardOptions& pass) const = 0;

  // Generates what evaluation with this context scores: queries see as many keys as with same_length. Error:
  // a memory below 1 where the model attends.
  virtual std::unique_ptr<Decoder> decoder(int64_t batch, const AttentionContext& context) const = 0;

  // Mean negative log-likelihood in nats, a scalar, ready for backward: the training loss.
  virtual Tensor loss(const Tensor& tokens, const Tensor& targets, State& state,
                      const ForwardOptions& pass) const;
  // Negative log-likelihood of each target, (T, B), without gradient: evaluation.
  virtual Tensor token_losses(const Tensor& tokens, const Tensor& targets, State& state,
                              const ForwardOptions& pass) const;

  // False: the model knows of a text only what is in the segment, and State stays empty. AttentionContext.memory
  // counts tokens to read again then.
  virtual bool carries_state() const = 0;

  // The same state in less memory, if there is a way that the next segment, run in the precision of now,
  // cannot tell. For a state that is to wait when nothing else of its segment is left: until then they share
  // tensors.
  virtual State waiting(State state) const = 0;

  // Floating-point operations of the products that one token of a forward pass takes, of segments of `steps`
  // tokens with `memory` rows carried over: 2 m n k each, the masked part of attention left out. Training
  // takes three times as many.
  virtual double forward_flops(int64_t steps, int64_t memory) const = 0;

  virtual int64_t vocabulary_size() const = 0;
  virtual DType dtype() const = 0;
  virtual Device device() const = 0;
  // JSON that make_model() builds this model from again.
  virtual std::string config() const = 0;
};

}  // namespace tandem
