// Optimizer: RAdam and AdamW with decoupled weight decay and clipping by the global norm, one pass over all
// parameters.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "models/named_tensor.h"

namespace tandem {

struct OptimizerConfig {
  std::string kind = "radam";  // or "adamw"
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0.1;  // of every parameter, biases and gains too: value -= lr weight_decay value
  double clip = 1.0;          // largest global gradient norm; 0: gradients are left as they are
  // RAdam's first updates (five with beta2 = 0.999), while its estimate of the variance is worth nothing.
  // True: momentum steps. False: moments are gathered, and parameters stay where they are, decay included.
  bool degenerated_to_sgd = true;
};

// Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond" (ICLR 2020); Loshchilov and Hutter,
// "Decoupled Weight Decay Regularization" (ICLR 2019). Moments have the dtype of their parameter.
class Optimizer {
 public:
  // Parameters are leaves (requires_grad). Error: unknown kind or a number out of its range; a parameter that
  // is no leaf, neither f32 nor f64, on another device than the first, or of a name that another one has.
  Optimizer(std::vector<NamedTensor> parameters, OptimizerConfig config);

  const OptimizerConfig& config() const { return config_; }

  // L2 norm of all gradients together, before clipping; 0 when there are none. Waits for the device. Not
  // finite when one of them is not: then call zero_grad() in place of step().
  double gradient_norm() const;

  // One update: gradients times min(1, clip / (norm + 1e-6)), decay, moments, parameters. Gradients are
  // cleared. A parameter without a gradient is left as it is: no decay, moments and its own count of updates
  // unchanged. `norm` is what gradient_norm() gave, to spare a second pass. Error: norm or lr is not finite;
  // nothing is changed then.
  void step(double lr) { step(lr, gradient_norm()); }
  void step(double lr, double norm);

  void zero_grad();
  // Calls of step() so far.
  int64_t steps() const { return steps_; }

  // All that the next step depends on besides the parameters: "steps", and per parameter "NAME.steps" (both
  // i64 (1)), "NAME.m" and "NAME.v", which share memory with the optimizer's own.
  std::vector<NamedTensor> state() const;
  // Copies a state in, so that training goes on bit for bit. Error naming the tensor: one is missing, of no
  // parameter of this model, or of another shape or dtype; nothing is changed then.
  void load_state(const std::vector<NamedTensor>& state);

 private:
  struct Slot {
    NamedTensor parameter;
    Tensor m, v;
    int64_t steps = 0;  // updates so far: bias correction counts those in which there was a gradient
  };

  OptimizerConfig config_;
  std::vector<Slot> slots_;
  int64_t steps_ = 0;
};

}  // namespace tandem
