// Distillation: a model, the student, learns from the distribution that another, its teacher, predicts, beside the text.
//
// The student's loss mixes both, (1 - weight) cross-entropy + weight T^2 KL(teacher || student at temperature T), for every
// token of a segment (ops/soft_cross_entropy.h). The teacher runs forward only, without dropout, over the same segments with
// the same memory as the student, and carries a state of its own, which waits beside the student's and is saved with it.
// In the first Distillation::imitate_steps steps its layers learn from the teacher's instead (imitation.h).
// Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015, arXiv 1503.02531).
#pragma once
#include <memory>
#include <string>

#include "tandem/data/vocabulary.h"
#include "tandem/models/language_model.h"
#include "tandem/models/training/imitation.h"
#include "tandem/models/training/run_config.h"
#include "tandem/ops/soft_cross_entropy.h"

namespace tandem {

struct Teacher {
  std::shared_ptr<const LanguageModel> model;
  Vocabulary vocabulary;
  std::string kind;    // for people to read, such as "checkpoint of Tandem, step 1000, 8-bit weights"
  std::string digest;  // of the model's configuration, its vocabulary and the bits of its weights
};

// Returns a teacher whose digest is that of the model. Error: no model.
Teacher make_teacher(std::shared_ptr<const LanguageModel> model, const Vocabulary& vocabulary,
                     const std::string& kind);
// Loads a teacher from any file that load_model_file() reads, in f32. Error: as that.
Teacher load_teacher(const std::string& path, Device device);

// Error: the teacher is not the one of the configuration, whose digest, unless it is empty, is compared; its vocabulary is
// not the text's; it is on another device than the student; the weight is 0, so that it would teach nothing; the student has
// an adaptive softmax and the teacher one with other cutoffs, or none.
void check_teacher(const Teacher& teacher, const Distillation& wanted, const LanguageModel& student,
                   const Vocabulary& vocabulary);

// Computes the student's mixed loss of a segment, and its own cross-entropy, from tokens and targets (T, B) i32. `state` holds
// what both carry; the names of the teacher's parts begin with "teacher.".
//
// With an adaptive softmax the divergence is that of the head, plus those of the tails, each times the teacher's probability
// of the tail: by the chain rule that of the whole vocabulary at T = 1. At other temperatures each softmax has T. All tails
// are computed for all tokens. On a GPU that waits for the device, as the adaptive softmax does, so that the step is no graph.
// Error: as LanguageModel::logits().
SoftCrossEntropy distillation_loss(const LanguageModel& student, const LanguageModel& teacher,
                                   const SoftTargetOptions& mix, const Tensor& tokens, const Tensor& targets,
                                   State& state, const ForwardOptions& options);

// Computes the loss of a segment in the first phase, and the student's own cross-entropy, from the same arguments: the
// imitation of the layers, and a tenth of the cross-entropy. FitNets' first phase trains the layers below the hint alone;
// here the output layer, which nothing imitates, learns on the side, lest the second phase begin with its random weights.
// The tenth is a choice of ours, which was not measured.
SoftCrossEntropy imitation_loss(const LanguageModel& student, const LanguageModel& teacher,
                                const Imitation& imitation, const Tensor& tokens, const Tensor& targets,
                                State& state, const ForwardOptions& options);

}  // namespace tandem
