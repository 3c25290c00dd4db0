// Trainer: takes one optimizer step after another over a text, and can stop and resume with the same bits.
//
// On a GPU steps are only enqueued: advance() does not wait for the device, collect() does. After a few steps
// one CUDA graph holds a whole step (graph_step.h). On a CPU a step is done when advance() returns.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tandem/autograd/tape.h"
#include "tandem/data/batch_stream.h"
#include "tandem/models/training/checkpoint.h"
#include "tandem/models/training/graph_step.h"
#include "tandem/models/training/optimizer.h"
#include "tandem/models/training/run_config.h"
#include "tandem/models/training/schedule.h"
#include "tandem/ops/gemm/precision.h"

namespace tandem {

namespace cuda {
class BatchCopy;
}

ScheduleConfig schedule_config(const Recipe& recipe);

// What one step was.
struct StepRecord {
  int64_t step = 0;  // number of the step, counting from 1
  double loss = 0;   // mean negative log-likelihood in nats a token, over the step's segments
  double lr = 0;
  double gradient_norm = 0;  // global L2 norm, before clipping
  int64_t tokens = 0;
  bool skipped = false;  // loss or gradient was not finite: no update was made
};

class Trainer {
 public:
  // Builds the model of `config` and trains it on `train`, whose text must outlive the trainer.
  // Error: a precision that the device does not have; a model for another number of symbols than `vocabulary`
  // has.
  Trainer(const RunConfig& config, const Tokens& train, const Vocabulary& vocabulary,
          Device device = Device::cpu());

  // Takes one step: forward, backward, clipping, update. If the loss or the gradient is not finite, nothing
  // changes but the position in the text and the count of skipped steps.
  // Error, in the first steps: the loss depends on a leaf that is no parameter of the model.
  void advance();
  // Waits for the steps taken since the last call and returns their records, oldest first.
  // Error: RunConfig::max_skipped steps in a row were not finite; the message names the operator where the first
  // such value arises.
  std::vector<StepRecord> collect();
  // Takes one step and waits for it. Error: as collect().
  StepRecord step();

  int64_t steps_done() const { return progress_.step; }
  int64_t steps_skipped() const { return progress_.skipped; }
  const RunConfig& config() const { return config_; }
  MatmulPrecision precision() const;
  Device device() const { return model_->device(); }
  const LanguageModel& model() const { return *model_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  StreamPosition position() const { return stream_.position(); }

  // Results that the caller keeps here, so that checkpoints save and restore them.
  struct RunCounters {
    double best_dev_nats = 0;  // lowest loss on the dev split so far, in nats a token
    int64_t best_step = 0;     // the step it was reached at; 0: none yet
  };
  RunCounters counters;

  // Returns everything that the next step depends on. Error: steps are not collected yet.
  Checkpoint checkpoint() const;
  // Returns the weights without optimizer, state and progress.
  Checkpoint weights() const;
  // Resumes where the checkpoint was made; weights that it has pruned stay 0.
  // Error: a checkpoint of weights only, or of another model, vocabulary or text.
  void restore(const Checkpoint& checkpoint);

  // On: checks every output and gradient; the first operator with a value that is not finite stops the run by an
  // error that names it.
  void check_nan(bool on) { check_nan_ = on; }

  // On a GPU: runs steps as one CUDA graph (the default) or operator by operator. The results are the same bits.
  void use_graph(bool on) { graph_step_.allow(on); }
  bool uses_graph() const { return graph_step_.captured(); }
  // Why steps that should be a graph are not one; empty if they are, or if none has been captured yet.
  const std::string& graph_refusal() const { return graph_step_.refusal(); }

  // On: adds up times by operator for each segment; see Tape::times().
  void profile(bool on) { profile_ = on; }
  const std::vector<OperatorTime>& last_profile() const { return last_profile_; }  // the last segment's

 private:
  static constexpr int64_t kHistory = 1024;  // outcomes that the device stores until collect() reads them

  struct Batch {
    Tensor inputs, targets;  // (T, B) i32, at addresses that never change
    bool starts_epoch = false;
  };
  struct Progress {
    int64_t step = 0;
    int64_t skipped = 0;
    int64_t skipped_in_row = 0;
    uint32_t micro_step = 0;  // segments so far; keys the dropout masks
  };
  void load_batches();
  // Runs forward and backward of one segment. Adds its share to the gradients and to loss_; advances `state`.
  void run_segment(const Batch& batch, State& state, uint32_t micro_step, bool check_nan);
  // Error: the last backward pass reached a leaf that is no parameter of the model, as when add_parameter() or
  // add_child() was forgotten: it would get gradients and never an update.
  void check_leaves(const std::vector<LeafUse>& uses) const;
  // Enqueues the step on the loaded batches.
  void compute(uint32_t first_micro_step);
  void keep_state(State next);
  // Whether the loaded step does what every later step does, so that a graph can hold it.
  bool is_regular_step() const;
  void read_history();
  [[noreturn]] void fail_not_finite(const StepRecord& record);

  RunConfig config_;
  Vocabulary vocabulary_;
  std::unique_ptr<LanguageModel> model_;
  Optimizer optimizer_;
  Schedule schedule_;
  BatchStream stream_;
  State state_;                     // carried to the next step
  std::vector<NamedTensor> masks_;  // pruning masks, which the optimizer holds, by parameter name
  Progress progress_;
  std::vector<int32_t> inputs_, targets_;  // buffers of load_batches()
  std::vector<Batch> batches_;             // one for each segment of a step
  Tensor loss_, lr_;                       // f64 (1)
  Tensor outcome_;                         // f64 (StepOutcome::kSize), the last step's
  Tensor history_;                         // f64 (kHistory, StepOutcome::kSize), one row for each of unread_
  std::vector<StepRecord> unread_;         // records without the numbers that are still on the device
  std::vector<StepRecord> read_;           // complete records, for collect()
  std::shared_ptr<cuda::BatchCopy> batch_copy_;
  GraphStep graph_step_;
  bool check_nan_ = false;
  bool profile_ = false;
  int steps_to_check_ =
      2;  // steps whose leaves are still checked: the first has no state, the second has one
  std::vector<OperatorTime> last_profile_;
};

}  // namespace tandem
