// Trainer: takes one optimizer step after another over a text, and can stop and resume with the same bits.
//
// On a GPU steps are only enqueued: advance() does not wait for the device, collect() does. After a few steps
// one CUDA graph holds a whole step (graph_step.h). With several ranks advance() waits for the gradients of all, between a
// graph that computes them and one that uses them. On a CPU a step is done when advance() returns.
//
// The rows of a batch are Recipe::shards groups, which several ranks share (core/ranks.h): each shard is computed as a
// batch of its own, with its own state and dropout masks, and gradients are added in a fixed tree (gradient_sum.h). So
// every number is the same bits for any number of ranks from 1 to the number of shards.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tandem/autograd/tape.h"
#include "tandem/core/ranks.h"
#include "tandem/data/batch_stream.h"
#include "tandem/models/training/checkpoint.h"
#include "tandem/models/training/distillation.h"
#include "tandem/models/training/gradient_buckets.h"
#include "tandem/models/training/gradient_sum.h"
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

// The record of one step.
struct StepRecord {
  int64_t step = 0;  // number of the step, counting from 1
  // Mean negative log-likelihood in nats a token, over the step's segments, without a teacher's part.
  double loss = 0;
  double lr = 0;
  double gradient_norm = 0;  // global L2 norm, before clipping
  int64_t tokens = 0;
  bool skipped = false;         // loss or gradient was not finite: no update was made
  double exchange_seconds = 0;  // in which gradients of other ranks were waited for and added
};

class Trainer {
 public:
  // Builds the model of `config` and trains it on `train`, whose text must outlive the trainer. Every rank makes a
  // trainer of the same configuration and text, and then calls the same functions.
  // Error: a precision that the device does not have; a model for another number of symbols than `vocabulary`
  // has; fewer shards than ranks.
  Trainer(const RunConfig& config, const Tokens& train, const Vocabulary& vocabulary,
          Device device = Device::cpu(), std::shared_ptr<Ranks> ranks = Ranks::alone());
  // Trains a model that the caller has built, on the model's device; the registry need not know it. An empty
  // config.model_config becomes model->config(), and config.seed is that of dropout alone.
  // Error: as above; no model.
  Trainer(std::unique_ptr<LanguageModel> model, const RunConfig& config, const Tokens& train,
          const Vocabulary& vocabulary, std::shared_ptr<Ranks> ranks = Ranks::alone());

  // Lets the model learn from a teacher, whose weight and temperature the configuration has. Call it before restore() and
  // the first step of a run with such a weight, on every rank. The configuration gets the teacher's digest if it has none.
  // Error: as check_teacher().
  void set_teacher(Teacher teacher);
  // Returns the teacher, or null.
  const LanguageModel* teacher() const { return teacher_.model.get(); }

  // Takes one step: forward, backward, clipping, update. If the loss or the gradient is not finite, nothing
  // changes but the position in the text and the count of skipped steps.
  // Error: the configuration asks for a teacher, and there is none. In the first steps: the loss depends on a leaf that is
  // no parameter of the model.
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
  StreamPosition position() const { return shards_.front().stream.position(); }
  Ranks& ranks() const { return *ranks_; }
  // How gradients of several ranks are added; exact at first. With exact sums the ranks share the update of the parameters
  // and its moments (update_owners.h), if Optimizer::can_share(). Call it before restore() and the first step, on every rank.
  // Error: later.
  void set_reduce(Reduce reduce);
  // Sets the sizes of the buckets in which GPUs exchange gradients over NCCL while the backward pass still runs. Call it before
  // restore() and the first step, on every rank, with the same sizes. Error: later.
  void set_bucket_bytes(BucketBytes full);
  // How gradients go from rank to rank.
  Transport& transport() const { return gradients_.transport(); }
  // Seconds so far in which steps added and exchanged the gradients of several ranks.
  double exchange_seconds() const { return gradients_.exchange_seconds() + sharing_seconds_; }

  // Results that the caller keeps here, so that checkpoints save and restore them.
  struct RunCounters {
    double best_dev_nats = 0;  // lowest loss on the dev split so far, in nats a token
    int64_t best_step = 0;     // the step it was reached at; 0: none yet
  };
  RunCounters counters;

  // Returns everything that the next step depends on. It does not tell how many ranks there are. On other ranks than the
  // first it lacks the state of their fellows' shards and the moments that those own. Error: steps are not collected yet;
  // the weights of the ranks are not the same bits, as on hosts with processors of different kinds.
  Checkpoint checkpoint() const;
  // Returns the weights without optimizer, state and progress.
  Checkpoint weights() const;
  // Resumes where the checkpoint of rank 0, which broadcast_checkpoint() gives to all, was made; pruned weights stay 0.
  // Error: a checkpoint of weights only, or of another model, vocabulary, text or number of shards.
  void restore(const Checkpoint& checkpoint);

  // Replaces the model's weights, to score others, such as the best ones so far. With the former ones set again before
  // the next step, the run goes on as if nothing had happened. Error: as Module::load().
  void set_weights(const std::vector<NamedTensor>& values) { model_->load(values); }

  // On: checks every output and gradient; the first operator with a value that is not finite stops the run by an
  // error that names it.
  void check_nan(bool on) { check_nan_ = on; }

  // On: steps copy their gradients, before clipping, for gradients(). On a GPU they run operator by operator meanwhile. All
  // ranks must give the same.
  void keep_gradients(bool on) { keep_gradients_ = on; }
  // Returns the gradients of the last step that kept them, by the names of the parameters that have one.
  const std::vector<NamedTensor>& gradients() const { return kept_gradients_; }

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
    Tensor inputs, targets;  // (T, B / shards) i32, at addresses that never change
    bool starts_epoch = false;
  };
  // A group of rows that is computed as a batch of its own.
  struct Shard {
    int64_t index;
    BatchStream stream;          // of its columns
    std::vector<Batch> batches;  // one for each segment of a step
    State state;                 // carried to the next step, by the teacher too
  };
  struct Progress {
    int64_t step = 0;
    int64_t skipped = 0;
    int64_t skipped_in_row = 0;
    uint32_t micro_step = 0;  // segments of all shards so far; keys the dropout masks
  };
  void load_batches();
  // Lets the columns whose turn it is begin a text anew.
  void reset_states();
  // Returns the parameters of the model, and those of the imitation, if there is one.
  std::vector<NamedTensor> trained_parameters() const;
  // Computes the loss of a segment that is to fall, and advances `state`. `nll` receives the negative log-likelihood alone.
  Tensor segment_loss(const Batch& batch, State& state, const ForwardOptions& options, Tensor& nll) const;
  // Runs forward and backward of one segment. Adds its share to the gradients and to loss_; advances `state`. `is_last`: no
  // gradient of the step comes after these, so that the exchange of gradients may begin.
  void run_segment(const Batch& batch, State& state, uint32_t micro_step, bool check_nan, bool is_last);
  // Error: the last backward pass reached a leaf that is no parameter of the model, as when add_parameter() or
  // add_child() was forgotten: it would get gradients and never an update.
  void check_leaves(const std::vector<LeafUse>& uses) const;
  // Does so for all segments of a shard, and returns the state after them.
  State run_shard(const Shard& shard, uint32_t first_micro_step, bool check_nan, bool is_last);
  // Exchanges the buckets that are complete with this leaf.
  void start_exchange(const GradNode& leaf);
  int64_t micro_steps_per_step() const { return config_.recipe.accumulate * config_.recipe.shards; }
  // Take the step on the loaded batches. The gradients and losses of the own shards come first, and the update follows; on
  // a GPU both only enqueue work. With several ranks exchange_after() follows each.
  void compute_gradients(uint32_t first_micro_step);
  void update();
  // Are the halves of update(), between which ranks that share it exchange sums of squares.
  void measure_gradients();
  void update_own();
  void copy_gradients();
  // Settles, before the first step, how the ranks share the exchange and the update of parameters.
  void prepare_ranks();
  // Runs the parts of the loaded step, and the exchanges after them.
  void run_parts(uint32_t first_micro_step);
  // Exchanges what a part of a step has computed, when several ranks take part.
  void exchange_after(size_t part);
  // Returns whether the state has the layout of the one before, so that the next step has the shapes of this one.
  bool keep_state(Shard& shard, State next);
  // Lets go of the graph: the next steps differ from those before.
  void restart_graph() {
    graph_step_.restart();
    state_is_steady_ = false;
  }
  // Whether the loaded step does what every later step does, so that a graph can hold it.
  bool is_regular_step() const;
  void read_history();
  [[noreturn]] void fail_not_finite(const StepRecord& record);
  // Returns the names that begin with this, in a checkpoint of several shards, for the state of a shard.
  std::string state_prefix(int64_t shard) const;
  void check_same_weights() const;

  RunConfig config_;
  std::shared_ptr<Ranks> ranks_;
  Vocabulary vocabulary_;
  std::unique_ptr<LanguageModel> model_;
  Teacher teacher_;                       // without a model if there is none
  std::unique_ptr<Imitation> imitation_;  // null if no step is its
  Optimizer optimizer_;
  Schedule schedule_;
  GradientSum gradients_;
  std::shared_ptr<const UpdateOwners>
      owners_;  // of trained_parameters(); null: every rank updates all of them
  BucketBytes bucket_bytes_;
  bool overlaps_ = false;           // whether buckets are exchanged while the backward pass runs
  double sharing_seconds_ = 0;      // in which squares and values were exchanged
  std::vector<Shard> shards_;       // those of this rank
  std::vector<State> next_states_;  // of each of them, after the step that is being taken
  std::vector<NamedTensor> masks_;  // pruning masks, which the optimizer holds, by parameter name
  Progress progress_;
  std::vector<int32_t> inputs_, targets_;  // buffers of load_batches()
  Tensor loss_, lr_;                       // f64 (1)
  Tensor outcome_;                         // f64 (StepOutcome::kSize), the last step's
  Tensor history_;                         // f64 (kHistory, StepOutcome::kSize), one row for each of unread_
  std::vector<StepRecord> unread_;         // records without the numbers that are still on the device
  std::vector<StepRecord> read_;           // complete records, for collect()
  std::shared_ptr<cuda::BatchCopy> batch_copy_;
  GraphStep graph_step_;
  bool state_is_steady_ = false;  // whether the last step left all states in the layout that it found
  bool check_nan_ = false;
  bool profile_ = false;
  bool keep_gradients_ = false;
  std::vector<NamedTensor> kept_gradients_;
  int steps_to_check_ = 2;  // whose leaves are still checked: the first has no state, the second has one
  std::vector<OperatorTime> last_profile_;
};

}  // namespace tandem
