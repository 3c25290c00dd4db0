// Trainer: one optimizer step after another over a text, and everything needed to stop and go on bit for bit.
//
// On a GPU the steps are only enqueued: nothing waits for the device until somebody collect()s, and after a
// few steps one CUDA graph holds a whole step. What changes from step to step lies in device memory: the
// batch, the learning rate, the step of the dropout keys.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "autograd/tape.h"
#include "core/dispatch.h"
#include "cuda/runtime/batch_copy.h"
#include "cuda/runtime/graph.h"
#include "data/batch_stream.h"
#include "models/training/checkpoint.h"
#include "models/training/optimizer.h"
#include "models/training/run_config.h"
#include "models/training/schedule.h"
#include "ops/gemm/precision.h"

namespace tandem {

ScheduleConfig schedule_config(const Recipe& recipe);

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
  // Trains on `train`, whose text must outlive the trainer. Error: a precision that the device does not
  // have.
  Trainer(const RunConfig& config, const Tokens& train, const Vocabulary& vocabulary,
          Device device = Device::cpu());

  // Forward, backward, clip, update. A step whose loss or gradient is not finite changes nothing but the
  // position in the text and is counted.
  void advance();
  // What the steps since the last call were, oldest first; waits for them. Error: RunConfig::max_skipped
  // steps in a row were not finite; the message names the operator where the first such value arises.
  std::vector<StepRecord> collect();
  // One step, waited for. Error: as collect().
  StepRecord step();

  int64_t steps_done() const { return progress_.step; }
  int64_t steps_skipped() const { return progress_.skipped; }
  bool finished() const { return progress_.step >= config_.recipe.steps; }
  const RunConfig& config() const { return config_; }
  MatmulPrecision precision() const;
  Device device() const { return model_->device(); }
  const LanguageModel& model() const { return *model_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  StreamPosition position() const { return stream_.position(); }

  // Counters that a run keeps beside the trainer's own, saved with them.
  struct RunCounters {
    double best_dev_nats = 0;
    int64_t best_step = 0;  // 0: none yet
  };
  RunCounters counters;

  // Error: steps are not collected yet.
  Checkpoint checkpoint() const;
  Checkpoint weights() const;  // without what only training needs
  // Goes on where the checkpoint stood; weights that are pruned stay so. Error: bare weights; a checkpoint of
  // another model, vocabulary or text.
  void restore(const Checkpoint& checkpoint);

  // Every output and gradient is checked; the first operator whose is not finite stops the run and is named.
  void check_nan(bool on) { check_nan_ = on; }

  // On a GPU: a whole step as one CUDA graph, which is the default, or operator by operator. The results are
  // the same bits.
  void use_graph(bool on);
  bool uses_graph() const { return graph_ != nullptr; }
  // Why steps are not a graph although they should be; empty when they are, or not yet.
  const std::string& graph_refusal() const { return graph_refusal_; }

  // Times by operator are added up from now on; see Tape::times().
  void profile(bool on) { profile_ = on; }
  const std::vector<OperatorTime>& last_profile() const { return last_profile_; }

 private:
  static constexpr int64_t kHistory = 1024;    // steps that the device remembers for collect()
  static constexpr int kStepsBeforeGraph = 2;  // of the shapes of all later ones: memory has found its places

  struct Batch {
    Tensor inputs, targets;  // (T, B), always in the same place
    bool starts_epoch = false;
  };
  struct Progress {
    int64_t step = 0;
    int64_t skipped = 0;
    int64_t skipped_in_row = 0;
    uint32_t micro_step = 0;  // segments so far: the key of the dropout masks
  };
  void next_batches();
  // Adds the segment's share to the gradients and its share of the loss to loss_; moves `state` on.
  void segment(const Batch& batch, State& state, uint32_t micro_step, bool check_nan);
  // The step on the batches at hand.
  void compute(uint32_t first_micro_step);
  void keep(State next);
  bool can_use_graph() const;
  void run_graph(uint32_t first_micro_step);
  void read_history();
  [[noreturn]] void fail_not_finite(const StepRecord& record);

  RunConfig config_;
  Vocabulary vocabulary_;
  std::unique_ptr<LanguageModel> model_;
  Optimizer optimizer_;
  Schedule schedule_;
  BatchStream stream_;
  State state_;
  std::vector<NamedTensor> masks_;  // of pruned weights, which the optimizer holds at 0
  Progress progress_;
  std::vector<int32_t> inputs_, targets_;  // reused by next_batches()
  std::vector<Batch> batches_;             // of one step
  Tensor loss_, lr_, outcome_;             // f64 (1), (1), (3): see optimizer_step()
  Tensor history_;                  // f64 (kHistory, 3): outcomes of the steps that nobody has asked for
  std::vector<StepRecord> unread_;  // what is known of these without asking the device
  std::vector<StepRecord> read_;    // records ready for collect()
  std::shared_ptr<cuda::BatchCopy> batch_copy_;
  std::shared_ptr<cuda::Graph> graph_;
  std::string graph_refusal_;
  uint32_t graph_micro_step_ = 0;  // of the capture
  int steps_before_graph_ = 0;
  bool use_graph_ = true;
  bool check_nan_ = false;
  bool profile_ = false;
  std::vector<OperatorTime> last_profile_;
};

}  // namespace tandem
