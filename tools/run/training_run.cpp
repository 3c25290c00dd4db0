// The training loop.
#include "tandem/tools/run/training_run.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/models/training/score.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/metrics.h"
#include "tandem/tools/run/progress.h"
#include "tandem/tools/run/ranks.h"
#include "tandem/tools/run/run_scores.h"
#include "tandem/tools/run/stop_signals.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

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

class Run {
 public:
  Run(Trainer& trainer, const Corpus& corpus, const RunOptions& options)
      : trainer_(trainer),
        options_(options),
        level_(trainer.vocabulary().level()),
        last_step_(options.max_steps > 0 ? std::min(options.max_steps, trainer.config().recipe.steps)
                                         : trainer.config().recipe.steps),
        ranks_(trainer.ranks()),
        progress_(trainer.steps_done(), last_step_, progress_options(trainer, options)),
        scores_(trainer, corpus, [this] { check_signals(); }),
        collect_every_(trainer.device().is_cuda() ? std::min(options.log_every, kLongestWait) : 1) {
    if (!ranks_.leads()) return;
    metrics_.emplace((options.folder / kMetrics).string(), trainer.steps_done());
    check_files();
  }

  RunEnd run() {
    try {
      if (has_row(trainer_.config().recipe.steps, "test_nats") && is_at_end()) {
        progress_.say(fmt::format("the run is done: all {} steps, and the test score is in {}",
                                  trainer_.steps_done(), (options_.folder / kMetrics).string()));
        return RunEnd::done;
      }
      train();
      report_result();
      return RunEnd::done;
    } catch (const Interrupted&) {
      collect();
      check_weights();
      save_last();
      progress_.say(fmt::format("stopped by signal {} at step {}; --resume goes on from {}", stop_signal_,
                                trainer_.steps_done(), (options_.folder / kLastCheckpoint).string()));
      return RunEnd::stopped_by_signal;
    }
  }

 private:
  static constexpr int64_t kEarlySample = 120;  // bytes of the first sample; of words a fifth as many

  struct Interrupted {};  // thrown when a signal has asked for the end
  // Stops all ranks at the same point if a signal has arrived at one; while rank 0 works alone, at rank 0.
  void check_signals() {
    if (alone_ && ranks_.leads()) ranks_.still_working();
    stop_signal_ = alone_ ? signals_.received() : static_cast<int>(ranks_.largest(signals_.received()));
    if (stop_signal_ != 0) throw Interrupted();
  }
  // Returns whether --max-time is over at rank 0. A signal counts first.
  bool time_is_over(Clock::time_point start) {
    constexpr int64_t kSignals = 1000;
    const bool over =
        ranks_.leads() && options_.max_seconds > 0 && seconds_since(start) >= options_.max_seconds;
    const int64_t stop = ranks_.largest(signals_.received() != 0 ? kSignals + signals_.received() : over);
    if (stop > kSignals) {
      stop_signal_ = static_cast<int>(stop - kSignals);
      throw Interrupted();
    }
    return stop != 0;
  }
  // Lets rank 0 do `work` while the others wait, as long as it takes.
  template <class Work>
  void on_leader(const Work& work) {
    alone_ = true;
    stop_signal_ = 0;
    try {
      if (ranks_.leads()) work();
    } catch (const Interrupted&) {
    }
    alone_ = false;
    ranks_.wait_for_leader();
    stop_signal_ = static_cast<int>(ranks_.largest(stop_signal_));
    if (stop_signal_ != 0) throw Interrupted();
  }
  // Returns whether the metrics, which rank 0 has, hold a row of this step with this field.
  bool has_row(int64_t step, const std::string& name) const {
    return ranks_.largest(ranks_.leads() && metrics_->has(step, name)) != 0;
  }

  bool is_at_end() const { return trainer_.steps_done() == trainer_.config().recipe.steps; }
  // Whether the run is evaluated after the step that was just done, however often it is stopped.
  bool evaluation_is_due() const {
    return trainer_.steps_done() > 0 &&
           (trainer_.steps_done() % trainer_.config().recipe.eval_every == 0 || is_at_end());
  }

  void train() {
    const Clock::time_point start = Clock::now();
    last_collected_ = start;
    // A stop may have come between a step and its evaluation.
    if (evaluation_is_due() && !has_row(trainer_.steps_done(), "dev_nats")) evaluate_and_checkpoint();
    const int64_t first_step = trainer_.steps_done();
    while (trainer_.steps_done() < last_step_) {
      if (time_is_over(start)) {
        progress_.say(fmt::format("stopping at step {}: --max-time is over", trainer_.steps_done()));
        break;
      }
      trainer_.advance();
      const bool due = evaluation_is_due();
      if (due || trainer_.steps_done() % collect_every_ == 0) collect();
      if (ranks_.size() > 1 && trainer_.steps_done() == first_step + 1)
        progress_.say(memory_line(ranks_, peak_memory_bytes(trainer_.device())));
      if (due) evaluate_and_checkpoint();
    }
    collect();
    if (evaluation_is_due()) return;  // it has written the checkpoints
    check_weights();
    save_last();
  }

  // Scores the weights that the run gives, and lets them continue a text: at the end those of the best evaluation, at a
  // stop before it the weights of now, if they are better.
  void report_result() {
    const bool now = !is_at_end() && !evaluation_is_due() && weights_of_now_are_best();
    on_leader([this, now] { report_weights(now); });
  }
  void report_weights(bool now) {
    const std::filesystem::path best = options_.folder / kBestCheckpoint;
    if (now && trainer_.counters.best_step == 0) save_best();  // until the first evaluation that is due
    TANDEM_CHECK(
        std::filesystem::exists(best),
        "no evaluation of this run gave a finite loss: its weights have diverged, and nothing is scored; a lower lr "
        "or a longer warm-up may help");
    // The trainer's own model is scored, because the registry need not know it.
    std::optional<OtherWeights> best_weights;
    if (!now)
      best_weights.emplace(trainer_, load_checkpoint(best.string(), CheckpointPart::model).parameters);
    const LanguageModel& model = trainer_.model();
    if (trainer_.config().test && scores_.has_test()) score_test(model);
    if (options_.sample_tokens > 0) progress_.say(scores_.sample(model, options_.sample_tokens));
    best_weights.reset();
    progress_.say(fmt::format("checkpoint: {}", (now ? options_.folder / kLastCheckpoint : best).string()));
  }

  // Evaluates the weights of now on dev, at a step whose evaluation is not due.
  bool weights_of_now_are_best() {
    if (!scores_.has_dev()) return true;
    const Evaluation evaluation = scores_.dev();
    const double nats = evaluation.mean_nats();
    const Trainer::RunCounters& counters = trainer_.counters;
    const bool best = std::isfinite(nats) && (counters.best_step == 0 || nats < counters.best_dev_nats);
    write_evaluation("dev", evaluation);
    say_dev(evaluation, best);
    return best;
  }

  void score_test(const LanguageModel& model) {
    const Evaluation test = scores_.test(model);
    write_evaluation("test", test);
    metrics_->sync();
    progress_.say(fmt::format(
        "test: {} over {} symbols, window {}, {} (in {})", score_text(level_, test.mean_nats()), test.symbols,
        trainer_.config().recipe.eval_window, trainer_.config().precision, duration_text(test.seconds)));
  }

  // Says what a resumed run does not find, which a copied folder may lack.
  void check_files() {
    Trainer::RunCounters& counters = trainer_.counters;
    if (counters.best_step > 0 && !std::filesystem::exists(options_.folder / kBestCheckpoint)) {
      progress_.say(fmt::format(
          "note: {} with the weights of step {} is missing; the next evaluation counts as the best",
          (options_.folder / kBestCheckpoint).string(), counters.best_step));
      counters = {};
    }
    if (metrics_->last_kept_step() < trainer_.steps_done())
      progress_.say(fmt::format("note: {} has no rows of the steps {} to {}",
                                (options_.folder / kMetrics).string(), metrics_->last_kept_step() + 1,
                                trainer_.steps_done()));
  }

  static ProgressOptions progress_options(const Trainer& trainer, const RunOptions& options) {
    const Recipe& recipe = trainer.config().recipe;
    return {.every = options.log_every,
            .device = trainer.device(),
            .level = trainer.vocabulary().level(),
            .flops_per_token = 3 * trainer.model().forward_flops(
                                       recipe.unroll, recipe.memory < 0 ? recipe.unroll : recipe.memory),
            .peak_flops = options.peak_tflops * 1e12};
  }

  // Reports the steps since the last call, each with the mean of their times.
  void collect() {
    const std::vector<StepRecord> records = trainer_.collect();
    if (records.empty()) return;
    const double seconds = seconds_since(last_collected_) / static_cast<double>(records.size());
    last_collected_ = Clock::now();
    const double ms = seconds * 1e3;
    for (const StepRecord& record : records) {
      progress_.step(record, ms);
      if (!ranks_.leads()) continue;
      metrics_->write({{"step", record.step},
                       {"loss", record.loss},
                       {score_name(level_), score(level_, record.loss)},
                       {"lr", record.lr},
                       {"gradient_norm", record.gradient_norm},
                       {"skipped", record.skipped},
                       {"ms", ms},
                       {"tokens_per_second", static_cast<double>(record.tokens) / seconds},
                       {"memory_bytes", peak_memory_bytes(trainer_.device())}});
    }
    if (!said_refusal_ && !trainer_.graph_refusal().empty()) {
      progress_.say(
          fmt::format("steps run operator by operator, not as a CUDA graph: {}", trainer_.graph_refusal()));
      said_refusal_ = true;
    }
  }

  void say_dev(const Evaluation& evaluation, bool best) {
    progress_.say(fmt::format("dev: {} over {} symbols at step {}{} (in {})",
                              score_text(level_, evaluation.mean_nats()), evaluation.symbols,
                              trainer_.steps_done(), best ? ", the best so far" : "",
                              duration_text(evaluation.seconds)));
  }

  // Evaluates on dev, writes the checkpoints and, the first time, prints a sample.
  void evaluate_and_checkpoint() {
    check_weights();
    bool finite = true;
    if (scores_.has_dev()) {
      const Evaluation evaluation = scores_.dev();
      const double nats = evaluation.mean_nats();
      finite = std::isfinite(nats);
      Trainer::RunCounters& counters = trainer_.counters;
      const bool best = finite && (counters.best_step == 0 || nats < counters.best_dev_nats);
      if (best) {
        counters.best_dev_nats = nats;
        counters.best_step = trainer_.steps_done();
      }
      write_evaluation("dev", evaluation);
      say_dev(evaluation, best);
      if (best) save_best();
    } else {
      save_best();  // there is no dev split to choose by: keeps the latest
    }
    save_last();
    if (!sampled_ && finite && !is_at_end() && options_.sample_tokens > 0) {
      const int64_t length = level_ == TokenUnit::byte ? kEarlySample : kEarlySample / 5;
      on_leader([this, length] { progress_.say(scores_.sample(trainer_.model(), length)); });
      sampled_ = true;
    }
    last_collected_ = Clock::now();  // the next step's time does not include the evaluation
  }

  // Error: a weight is not finite. Training cannot mend that, so the files keep what they hold.
  void check_weights() const {
    for (const NamedTensor& parameter : trainer_.model().parameters())
      TANDEM_CHECK(
          all_finite(parameter.value),
          "step {}: the parameter {} has values that are not finite: the weights have diverged and are not saved; "
          "{} a lower lr or a longer warm-up may help",
          trainer_.steps_done(), parameter.name, kept_checkpoint());
  }

  std::string kept_checkpoint() const {
    const std::filesystem::path last = options_.folder / kLastCheckpoint;
    return std::filesystem::exists(last) ? last.string() + " keeps the last ones that were finite;" : "";
  }

  void save_last() {
    const Checkpoint checkpoint = trainer_.checkpoint();
    if (!ranks_.leads()) return;
    metrics_->sync();
    save_checkpoint((options_.folder / kLastCheckpoint).string(), checkpoint);
  }
  void save_best() {
    if (ranks_.leads()) save_checkpoint((options_.folder / kBestCheckpoint).string(), trainer_.weights());
  }

  void write_evaluation(const std::string& split, const Evaluation& evaluation) {
    nlohmann::ordered_json row = {{"step", trainer_.steps_done()},
                                  {split + "_" + score_name(level_), score(level_, evaluation.mean_nats())},
                                  {split + "_nats", evaluation.mean_nats()},
                                  {"symbols", evaluation.symbols}};
    if (!is_at_end() && (split == "test" || !evaluation_is_due())) row[kAtStop] = true;
    if (metrics_) metrics_->write(row);
  }

  static constexpr int64_t kLongestWait = 100;  // steps on a GPU after which losses are fetched at the latest

  Trainer& trainer_;
  RunOptions options_;
  TokenUnit level_;
  int64_t last_step_;
  Ranks& ranks_;
  std::optional<MetricsLog> metrics_;  // on rank 0
  Progress progress_;
  RunScores scores_;
  int64_t collect_every_;
  Clock::time_point last_collected_;
  bool sampled_ = false;
  bool said_refusal_ = false;
  StopSignals signals_;
  int stop_signal_ = 0;  // the one that all ranks stop for
  bool alone_ = false;   // rank 0 works while the others wait
};

}  // namespace

RunEnd run_training(Trainer& trainer, const Corpus& corpus, const RunOptions& options) {
  if (trainer.ranks().leads()) std::filesystem::create_directories(options.folder);
  const PrecisionScope precision(trainer.precision(), trainer.device());  // for evaluations and samples
  return Run(trainer, corpus, options).run();
}

}  // namespace tandem
