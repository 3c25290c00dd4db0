// Other weights for a while, such as the best ones so far, in the model of a trainer.
#pragma once
#include <vector>

#include "tandem/models/training/trainer.h"

namespace tandem {

// While it lives, the trainer's model has other weights.
class OtherWeights {
 public:
  OtherWeights(Trainer& trainer, const std::vector<NamedTensor>& weights)
      : trainer_(trainer), own_(trainer.model().parameters()) {
    for (NamedTensor& parameter : own_) parameter.value = parameter.value.clone();
    trainer_.set_weights(weights);
  }
  ~OtherWeights() { trainer_.set_weights(own_); }
  OtherWeights(const OtherWeights&) = delete;
  OtherWeights& operator=(const OtherWeights&) = delete;

 private:
  Trainer& trainer_;
  std::vector<NamedTensor> own_;
};

}  // namespace tandem
