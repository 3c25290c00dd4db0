// Optimizer: updates all parameters at once by RAdam, AdamW, LAMB, NAG or Muon, with decoupled weight decay and with
// gradients clipped by their global norm.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tandem/models/named_tensor.h"
#include "tandem/models/training/update_owners.h"
#include "tandem/ops/muon_step.h"
#include "tandem/ops/optimizer_step.h"

namespace tandem {

struct OptimizerConfig {
  std::string kind = "radam";  // or "adamw", "lamb", "nag", "muon"
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 0;             // 0: the kind's default, 1e-6 for LAMB and 1e-8 for the others
  double weight_decay = 0.1;  // of the parameters that `decay` names: value -= lr weight_decay value
  std::string decay = "all";  // or "matrices": not biases, gains and other parameters of one axis
  double clip = 1.0;          // largest global gradient norm; 0: no clipping
  // RAdam only: in its first updates (five with beta2 = 0.999) it cannot estimate the variance yet. True: it takes
  // momentum steps then. False: it only gathers the moments; parameters do not change, not even by weight decay.
  bool degenerated_to_sgd = true;
  double min_trust = 0.25;  // LAMB only: smallest trust ratio
  double momentum = 0.99;   // NAG only: takes the place of beta1
  double muon_beta = 0.95;  // Muon only: beta of the matrices that it moves
};

// The outcome of one update.
struct StepOutcome {
  double loss = 0;           // the loss that step() was given; 0 without one
  double gradient_norm = 0;  // L2 norm of all gradients together, before clipping
  bool updated = true;       // false: loss or norm was not finite, and nothing changed

  // The same as f64 numbers in a tensor (kSize), in the order of the fields: the form in which the device
  // writes it.
  static constexpr int64_t kSize = 3;
  static StepOutcome read(std::span<const double> values);
  // Returns the element that is 1 if the update was made, else 0, as a view (1).
  static Tensor updated_flag(const Tensor& outcome);
};

// Returns whether Muon moves this parameter: a matrix of a layer, that is of rank 2 with a name that begins with
// "layers.", and with both axes at least 16. Embeddings, output rows, filters and vectors are no such matrices.
bool muon_moves(const NamedTensor& parameter);

// RAdam: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond" (ICLR 2020).
// AdamW: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019).
// LAMB: see lamb_trust() in ops/optimizer_step.h. NAG: Nesterov's accelerated gradient as in fairseq and PyTorch.
// Muon: orthogonalised momentum (ops/muon_step.h) for the parameters of muon_moves(), and RAdam for all others, with
// the same learning rate and weight decay. Their v stays 0, and their gradients are not clipped, since only the
// direction of an update depends on them.
// Moments have the dtype of their parameter.
class Optimizer {
 public:
  // Parameters are leaves (requires_grad).
  // Error: an unknown kind, or a number out of its range; a parameter that is not a leaf, is neither f32 nor
  // f64, is on another device than the first, or has the name of another one.
  Optimizer(std::vector<NamedTensor> parameters, OptimizerConfig config);

  const OptimizerConfig& config() const { return config_; }

  // Makes one update: scales gradients by min(1, clip / (norm + 1e-6)), applies weight decay, updates moments
  // and parameters, and clears the gradients. A parameter without a gradient stays as it is: no decay, and its
  // moments and its own count of updates do not change. If the norm or the loss is not finite, nothing changes
  // but the gradients. On a GPU the update is only enqueued, so that a CUDA graph can hold it.
  //     lr       f64 (1)
  //     loss     f64 (1), or undefined
  //     outcome  f64 (StepOutcome::kSize), is overwritten
  // Error: a tensor of another shape, dtype or device.
  void step(const Tensor& lr, const Tensor& loss, const Tensor& outcome);
  // Makes one update and waits for its outcome. Error: lr is not finite; nothing is changed then.
  StepOutcome step(double lr);

  // Several ranks can share an update: each updates the elements that it owns, and has moments of these alone. Then
  // step() falls apart into measure(), squares that the ranks give each other, and update(), after which they give each
  // other the new values. All numbers are the bits that step() would give.

  // Makes owners of the parameters, which lie in these buckets, for so many ranks: matrices that Muon moves, and with LAMB
  // all parameters, stay whole.
  UpdateOwners make_owners(int ranks, std::vector<IndexRange> buckets) const;
  // Whether the bits do not depend on which rank updates what. Not so if Muon moves a matrix on a GPU, whose products for
  // all matrices of one shape are one call, and their bits may depend on their number.
  bool can_share() const;
  // Updates as one of several ranks from now on; lets the moments of what others own go.
  void share(std::shared_ptr<const UpdateOwners> owners, int rank);
  // Computes the sums of squares of the gradients that this rank owns. step() begins with it.
  void measure();
  // The sums of squares of all gradients, f64 (n), of which measure() writes those in square_range() of this rank, for each
  // bucket of the owners. The tensor has the same memory as long as the same parameters have gradients.
  const Tensor& squares() const { return squares_; }
  IndexRange square_range(size_t bucket, int rank) const;
  // Makes the update of measure()'s gradients: what step() does after it. Values of parameters that others own do not
  // change.
  void update(const Tensor& lr, const Tensor& loss, const Tensor& outcome);

  // Keeps pruned weights at 0. `masks` are u8, by parameter name and of the parameter's shape, 0 where a weight
  // is pruned. There the value and the moments become 0, and gradients count as 0 from now on, in the norm too.
  // Replaces the masks set before; masks are not part of state().
  // Error: a mask of a parameter that the model does not have, or of another shape or dtype; nothing is changed
  // then.
  void set_pruning_masks(const std::vector<NamedTensor>& masks);

  void zero_grad();
  // Returns the number of updates made so far. Waits for the device.
  int64_t steps() const;

  // Returns everything but the parameters that the next step depends on: "steps" and, for each parameter,
  // "NAME.steps" (both i64 (1)), "NAME.m" and "NAME.v" (moments, of the parameter's shape). They share the
  // optimizer's memory. One of several ranks that share updates has the moments of what it owns, as tensors of one axis
  // if that is a part of a parameter, and none of other parameters.
  std::vector<NamedTensor> state() const;
  // Returns the state of one process from those of all ranks, one behind the other.
  std::vector<NamedTensor> joined_state(const std::vector<NamedTensor>& states) const;
  // Copies a state in; training then goes on with the same bits.
  // Error naming the tensor: one is missing, belongs to no parameter of this model, or has another shape or
  // dtype; nothing is changed then.
  void load_state(const std::vector<NamedTensor>& state);

 private:
  struct Slot {
    NamedTensor parameter;
    IndexRange own;  // the elements that this rank updates
    Tensor m, v;     // of these
    Tensor steps;    // i64 (1): updates with a gradient, the t of the bias corrections
    Tensor mask;     // 1 or 0, in the parameter's dtype; undefined: no weight is pruned
    bool by_muon = false;
  };
  // The parameters that have a gradient.
  struct Updates {
    std::vector<ParameterSlot> all;  // after a slot that only counts all updates
    std::vector<MuonSlot> by_muon;   // of those in `all` that only count
    std::vector<size_t> slots;       // their places in slots_
  };
  Updates updates() const;
  IndexRange own(size_t slot, int rank) const;
  // The places in slots_ of a bucket of the owners; of all slots, which are the only bucket without owners.
  IndexRange bucket(size_t index) const;

  OptimizerConfig config_;
  Device device_;
  Tensor
      steps_;  // i64 (1 + parameters): all updates, then each parameter's; on the device, which counts them
  std::vector<Slot> slots_;
  std::shared_ptr<const UpdateOwners> owners_;  // null: this process updates everything
  int rank_ = 0;
  Updates updates_;  // between measure() and update()
  Tensor squares_;   // f64 (n)
};

}  // namespace tandem
