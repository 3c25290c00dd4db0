// Trainer: one optimizer step after another over a text, and everything needed to stop and go on bit for bit.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "autograd/tape.h"
#include "data/batch_stream.h"
#include "models/optimizer.h"
#include "models/schedule.h"
#include "ops/gemm.h"
#include "tools/support/checkpoint.h"
#include "tools/support/run_config.h"

namespace tandem {

struct StepRecord {
  int64_t step = 0;  // counting from 1
  double loss = 0;   // mean nats a token over the step's segments
  double lr = 0;
  double gradient_norm = 0;  // before clipping
  int64_t tokens = 0;
  bool skipped = false;  // loss or gradient was not finite: no update was made
};

class Trainer {
 public:
  // Trains on `train`, whose bytes must outlive the trainer.
  Trainer(const RunConfig& config, std::span<const uint8_t> train, const Vocabulary& vocabulary);

  // Forward, backward, clip, update. A step whose loss or gradient is not finite changes nothing but the
  // position in the text and is counted. Error: RunConfig::max_skipped such steps in a row; the message names
  // the operator where the first value that is not finite arises.
  StepRecord step();

  int64_t steps_done() const { return progress_.step; }
  int64_t steps_skipped() const { return progress_.skipped; }
  bool finished() const { return progress_.step >= config_.recipe.steps; }
  const RunConfig& config() const { return config_; }
  MatmulPrecision precision() const;
  const LanguageModel& model() const { return *model_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  StreamPosition position() const { return stream_.position(); }

  // Counters that a run keeps beside the trainer's own, saved with them.
  struct RunCounters {
    double best_dev_bpc = 0;  // 0: none yet
    int64_t best_step = 0;
  };
  RunCounters counters;

  Checkpoint checkpoint() const;
  Checkpoint weights() const;  // without what only training needs
  // Goes on where the checkpoint stood. Error: bare weights; a checkpoint of another model, vocabulary or
  // text.
  void restore(const Checkpoint& checkpoint);

  // Every output and gradient is checked; the first operator whose is not finite stops the run and is named.
  void check_nan(bool on) { check_nan_ = on; }

  // Times by operator are added up from now on; see Tape::times().
  void profile(bool on) { profile_ = on; }
  const std::vector<OperatorTime>& last_profile() const { return last_profile_; }

 private:
  struct Batch {
    Tensor inputs, targets;
    bool starts_epoch;
  };
  struct Progress {
    int64_t step = 0;
    int64_t skipped = 0;
    int64_t skipped_in_row = 0;
    uint32_t micro_step = 0;  // segments so far: the key of the dropout masks
  };
  Batch next_batch();
  // Adds the segment's share to the gradients; returns its mean loss and moves `state` on.
  double segment(const Batch& batch, State& state, uint32_t micro_step, bool check_nan);
  [[noreturn]] void fail_not_finite(const std::vector<Batch>& batches, uint32_t first_micro_step, double loss,
                                    double norm);

  RunConfig config_;
  Vocabulary vocabulary_;
  std::unique_ptr<LanguageModel> model_;
  Optimizer optimizer_;
  Schedule schedule_;
  BatchStream stream_;
  State state_;
  Progress progress_;
  std::vector<int32_t> inputs_, targets_;  // reused by next_batch()
  bool check_nan_ = false;
  bool profile_ = false;
  std::vector<OperatorTime> last_profile_;
};

}  // namespace tandem
