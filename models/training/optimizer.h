// Optimizer: RAdam, AdamW, LAMB and NAG with decoupled weight decay and clipping by the global norm, all
// parameters at once.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "models/named_tensor.h"
#include "ops/optimizer_step.h"

namespace tandem {

struct OptimizerConfig {
  std::string kind = "radam";  // or "adamw", "lamb", "nag"
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 0;             // 0: the kind's own, 1e-6 of LAMB and 1e-8 of the others
  double weight_decay = 0.1;  // of every parameter, biases and gains too: value -= lr weight_decay value
  double clip = 1.0;          // largest global gradient norm; 0: gradients are left as they are
  // RAdam's first updates (five with beta2 = 0.999), while its estimate of the variance is worth nothing.
  // True: momentum steps. False: moments are gathered, and parameters stay where they are, decay included.
  bool degenerated_to_sgd = true;
  double min_trust = 0.25;  // of LAMB: its least trust ratio
  double momentum = 0.99;   // of NAG, in the place of beta1
};

// Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond" (ICLR 2020); Loshchilov and Hutter,
// "Decoupled Weight Decay Regularization" (ICLR 2019); for LAMB see lamb_trust();
// Nesterov's accelerated gradient as in fairseq and PyTorch. Moments have the dtype of
// their parameter.
class Optimizer {
 public:
  // Parameters are leaves (requires_grad). Error: unknown kind or a number out of its range; a parameter that
  // is no leaf, neither f32 nor f64, on another device than the first, or of a name that another one has.
  Optimizer(std::vector<NamedTensor> parameters, OptimizerConfig config);

  const OptimizerConfig& config() const { return config_; }

  // One update: gradients times min(1, clip / (norm + 1e-6)), decay, moments, parameters. Gradients are
  // cleared. A parameter without a gradient is left as it is: no decay, moments and its own count of updates
  // unchanged. Where the norm or the loss is not finite nothing changes at all. Only enqueues, and so can be
  // captured in a CUDA graph. lr: f64 (1). loss: f64 (1), or undefined. outcome: f64 (3), receives the loss
  // (0 without one), the norm of all gradients before clipping, and 1 where the update was made, 0 where it
  // was not. All on the parameters' device. Error: a tensor of another shape, dtype or device.
  void step(const Tensor& lr, const Tensor& loss, const Tensor& outcome);

  struct StepOutcome {
    double norm = 0;      // of all gradients together, before clipping
    bool updated = true;  // false: the norm is not finite, and nothing changed
  };
  // The same, waiting for the device to tell. Error: lr is not finite; nothing is changed then.
  StepOutcome step(double lr);

  // L2 norm of all gradients together, before clipping; 0 when there are none. Waits for the device.
  double gradient_norm() const;

  // Holds weights at 0: u8 masks by parameter name, of its shape, 0 where a weight is pruned. There the value
  // and the moments become 0 and gradients count as 0 from now on, in the norm too, so that every update
  // leaves them so. Replaces what was held before; the masks are no part of state(). Error: a mask of no
  // parameter of this model, or of another shape or dtype; nothing is changed then.
  void hold(const std::vector<NamedTensor>& masks);

  void zero_grad();
  // Updates made so far. Waits for the device.
  int64_t steps() const;

  // All that the next step depends on besides the parameters: "steps", and per parameter "NAME.steps" (both
  // i64 (1)), "NAME.m" and "NAME.v". They share memory with the optimizer's own.
  std::vector<NamedTensor> state() const;
  // Copies a state in, so that training goes on bit for bit. Error naming the tensor: one is missing, of no
  // parameter of this model, or of another shape or dtype; nothing is changed then.
  void load_state(const std::vector<NamedTensor>& state);

 private:
  struct Slot {
    NamedTensor parameter;
    Tensor m, v;
    Tensor steps;  // i64 (1): updates for which there was a gradient, which bias correction goes by
    Tensor mask;   // 1 or 0, in the parameter's dtype; undefined: nothing is held
  };
  // The parameters that have a gradient, and the count of all updates.
  std::vector<ParameterSlot> adam_slots() const;

  OptimizerConfig config_;
  Device device_;
  Tensor steps_;  // i64 (1 + parameters): all updates, then each parameter's; on the device, which decides
  std::vector<Slot> slots_;
};

}  // namespace tandem
