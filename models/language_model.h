// LanguageModel: from token ids to next-token losses, carrying state from one segment of the text to the
// next.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tandem/models/module.h"

namespace tandem {

// How far back attention looks, and what it keeps for the next segment.
struct AttentionContext {
  // Rows of the past that an attention layer carries over. -1: as many as the segment has, the way SRU++ and
  // Transformer-XL are trained.
  int64_t memory = -1;
  // Evaluation in which every query attends to the same number of keys, itself included, once the memory is
  // full: memory + 1 in SRU++, memory in Transformer-XL, as in their authors' code.
  // Error: the memory is -1.
  bool same_length = false;
  // Largest relative distance; keys beyond it share its position. 0: no limit.
  int64_t clamp = 0;
  // Generation by a model that carries no state: after memory + segment tokens it starts over with the last
  // `memory` of them, so that positions stay within those of an evaluation with this window.
  // 0: as many as memory.
  int64_t segment = 0;

  int64_t memory_after(int64_t steps) const { return memory < 0 ? steps : memory; }
  // Returns the number of tokens after which such a model starts over.
  int64_t longest() const { return memory + (segment > 0 ? segment : memory); }
};

// Settings of one forward pass.
struct ForwardOptions {
  bool training = false;  // enables dropout
  uint64_t seed = 0;      // with `step` and a layer's site, the key of every dropout mask
  uint32_t step = 0;      // number of the micro-batch: each has its own masks
  AttentionContext context = {};
  bool recompute = false;  // keeps only the layers' inputs, and runs each layer again in backward
  std::vector<Tensor>* layer_outputs =
      nullptr;  // receives the output (T, B, D) of each layer, unless it is null
};

// What a model carries to the next segment, without gradient, by name: "c.0" is the cell state (B, D) of
// layer 0, "memory.0" the past rows (M, B, D) that it attends to. Empty at the start of a text.
struct State {
  std::vector<NamedTensor> parts;
  // Names of the parts that the next segment uses in matrix products alone; see compact_state().
  std::vector<std::string> only_multiplied = {};

  bool empty() const { return parts.empty(); }
};

// Rounds the only_multiplied parts of a state to bf16 if matrix products would do so anyway: the next
// segment, run in the current precision, gives the same bits from less memory. For a state that waits between
// two training steps. Within a step it would cost memory instead: there the state is a view of layer inputs
// that backward needs in full.
void compact_state(State& state);

// Generates one token at a time. Keys and values are cached, not projected again. The rows of its batch are independent
// texts. They need not be equally long: rows may leave the batch between two tokens, and those of another decoder join it.
class Decoder {
 public:
  virtual ~Decoder() = default;
  // Reads one token per row, (B) i32, and returns the logits of the next one, (B, V).
  virtual Tensor step(const Tensor& tokens) = 0;

  // Reads T tokens per row, (T, B) i32, in segments where that is faster. Returns the logits of what follows the last of
  // them, (1, B, V), or with `every` of what follows each, (T, B, V). They are those of step() but for rounding. The default
  // calls step().
  virtual Tensor read(const Tensor& tokens, bool every = false);
  // Keeps these rows of the batch and drops the others: row i is then what rows[i] was. Error: the default refuses; not
  // ascending, or outside of the batch.
  virtual void keep(std::span<const int64_t> rows);
  // Appends the rows of another decoder behind those of this one, and takes them from it: it must not be used again.
  // Error: the default refuses; a decoder of another model or context.
  virtual void append(Decoder& other);
};

class LanguageModel : public Module {
 public:
  // Returns the logits (T, B, V) of tokens (T, B) i32; with an adaptive softmax, log-probabilities. `state`
  // is what the previous segment left, and becomes what this one leaves. Error: token ids outside 0..V-1; a
  // state of another batch size.
  virtual Tensor logits(const Tensor& tokens, State& state, const ForwardOptions& options) const = 0;

  // Returns a decoder that generates what evaluation with this context scores: queries attend as with
  // same_length. Error: a memory below 1 where the model attends.
  virtual std::unique_ptr<Decoder> decoder(int64_t batch, const AttentionContext& context) const = 0;

  // Returns the mean negative log-likelihood of the targets (T, B) in nats, a scalar: the training loss.
  virtual Tensor loss(const Tensor& tokens, const Tensor& targets, State& state,
                      const ForwardOptions& options) const;
  // Returns the negative log-likelihood of each target in nats, (T, B), without gradient.
  virtual Tensor token_losses(const Tensor& tokens, const Tensor& targets, State& state,
                              const ForwardOptions& options) const;

  // False: the model sees nothing before the segment, and State stays empty. AttentionContext::memory is
  // then the number of tokens that generation reads again.
  virtual bool carries_state() const = 0;

  // Returns the floating-point operations per token of a forward pass in segments of `steps` tokens with
  // `memory` rows carried over: 2 m n k for each matrix product, masked scores not counted. Training takes
  // three times as many.
  virtual double forward_flops(int64_t steps, int64_t memory) const = 0;

  // Returns where an adaptive softmax cuts the vocabulary; empty for one softmax over all of it, whose logits() have a
  // gradient. With cutoffs softmax_logits() has one.
  virtual std::vector<int64_t> cutoffs() const { return {}; }
  // Returns the logits (T B, n_i) of all tokens in each softmax that the output consists of: that of the head, whose last
  // columns are those of the tails, and those of the tails. Error: as logits().
  virtual std::vector<Tensor> softmax_logits(const Tensor& tokens, State& state,
                                             const ForwardOptions& options) const;

  virtual int64_t vocabulary_size() const = 0;
  virtual DType dtype() const = 0;
  virtual Device device() const = 0;
  // Returns JSON from which make_model() builds this model again.
  virtual std::string config() const = 0;
};

}  // namespace tandem
