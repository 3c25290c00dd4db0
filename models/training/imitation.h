// Imitation: the first phase of a distillation, in which the layers of the student learn what layers of its teacher give.
//
// A deep and thin student learns poorly from the distribution of a wide teacher alone, which tells its lower layers little.
// So each of its layers is first compared with one of the teacher, through a learned linear map between their widths.
// Romero et al., "FitNets: hints for thin deep nets" (ICLR 2015, arXiv 1412.6550), for one layer; layer by layer: Sun et al.,
// "MobileBERT" (ACL 2020, arXiv 2004.02984), whose student has the teacher's widths between its layers and needs no maps.
#pragma once
#include <vector>

#include "tandem/models/language_model.h"

namespace tandem {

// The maps are parameters for training alone: they are no part of the student.
class Imitation : public Module {
 public:
  // Runs both models on one token to see their layers. Error: a model does not tell the outputs of its layers.
  Imitation(const LanguageModel& student, const LanguageModel& teacher, uint64_t seed);

  // Returns the mean over the student's layers of the mean squared error between W_i h_i and the teacher's z_j, where the
  // outputs h_i and z_j are (T, B, d_i) and (T, B, d_j). The teacher's get no gradient. Error: another number of layers.
  Tensor loss(const std::vector<Tensor>& student, const std::vector<Tensor>& teacher) const;

  // Returns the teacher's layer for layer i of n: round((i + 1) m / n) - 1 of its m, so that the last is compared with the last.
  static size_t layer_of_teacher(size_t i, size_t n, size_t m);

 private:
  std::vector<Tensor> maps_;  // (d_j, d_i), for each layer of the student
  size_t teacher_layers_;
};

}  // namespace tandem
