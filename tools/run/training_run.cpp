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
#include "tandem/core/utf8.h"
#include "tandem/models/training/score.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/metrics.h"
#include "tandem/tools/run/other_weights.h"
#include "tandem/tools/run/ranks.h"
#include "tandem/tools/run/run_facts.h"
#include "tandem/tools/run/run_scores.h"
#include "tandem/tools/run/stop_signals.h"
#include "tandem/tools/run/tensorboard.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

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
    TANDEM_CHECK(trainer.config().early_stop == 0 || scores_.has_dev(),
                 "early stop: there is no dev split, whose loss would tell when to stop");
    if (!ranks_.leads()) return;
    metrics_.emplace((options.folder / kMetrics).string(), trainer.steps_done());
    if (!options.tensorboard.empty()) events_.emplace(options.tensorboard, trainer.steps_done() + 1);
    check_files();
    write_unknown_shares();
  }

  RunEnd run() {
    try {
      stopped_early_ = must_stop_early();
      if (metrics_ && !stopped_early_ && metrics_->has(trainer_.steps_done(), kEnd))
        metrics_->drop(kEnd);  // the run goes on, with more patience than before
      if (has_row(trainer_.steps_done(), "test_nats") && (is_at_end() || stopped_early_)) {
        progress_.say(fmt::format("the run is done: {} {} steps, and the test score is in {}",
                                  stopped_early_ ? "it stopped early, after" : "all", trainer_.steps_done(),
                                  (options_.folder / kMetrics).string()));
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
  static constexpr int64_t kEarlySample = 120;  // bytes of the sample without sample_every; of others a fifth

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
  bool evaluation_is_due() const { return is_evaluated(trainer_.steps_done()); }
  bool is_evaluated(int64_t step) const {
    const Recipe& recipe = trainer_.config().recipe;
    return step > 0 && (step % recipe.eval_every == 0 || step == recipe.steps);
  }

  // Whether the weights of now write a sample, beside the best ones at the end.
  bool sample_is_due() const {
    const int64_t every = trainer_.config().sample_every, step = trainer_.steps_done();
    if (options_.sample_tokens == 0 || step == 0 || is_at_end()) return false;
    return every > 0 ? step % every == 0 : step == trainer_.config().recipe.eval_every;
  }
  // The number of evaluations since the best one, all of which were due.
  int64_t evaluations_since_best() const {
    const int64_t every = trainer_.config().recipe.eval_every;
    return trainer_.steps_done() / every - trainer_.counters.best_step / every;
  }
  // Returns whether the run has just been evaluated, and has no patience left. Rank 0 decides for all.
  bool must_stop_early() const {
    const int64_t patience = trainer_.config().early_stop;
    return ranks_.largest(ranks_.leads() && patience > 0 && evaluation_is_due() && !is_at_end() &&
                          evaluations_since_best() >= patience &&
                          metrics_->has(trainer_.steps_done(), "dev_nats")) != 0;
  }

  void train() {
    const Clock::time_point start = Clock::now();
    last_collected_ = start;
    const bool has_events = ranks_.largest(events_ ? 1 : 0) == 1;  // on rank 0, for which all keep gradients
    if (trainer_.counters.best_step > 0) progress_.set_best(trainer_.counters.best_dev_nats);
    // A stop may have come between a step and what is due after it.
    const int64_t first_step = trainer_.steps_done();
    if (evaluation_is_due() && !has_row(first_step, "dev_nats")) evaluate_and_checkpoint();
    if (evaluation_is_due()) keep_checkpoint();
    if (sample_is_due() && !has_row(first_step, "sample")) sample();
    stopped_early_ = must_stop_early();
    while (trainer_.steps_done() < last_step_ && !stopped_early_) {
      if (time_is_over(start)) {
        progress_.say(fmt::format("stopping at step {}: --max-time is over", trainer_.steps_done()));
        break;
      }
      trainer_.keep_gradients(has_events && is_evaluated(trainer_.steps_done() + 1));
      trainer_.advance();
      const bool due = evaluation_is_due();
      if (due || sample_is_due() || trainer_.steps_done() % collect_every_ == 0) collect();
      if (ranks_.size() > 1 && trainer_.steps_done() == first_step + 1)
        progress_.say(memory_line(ranks_, peak_memory_bytes(trainer_.device())));
      if (due) evaluate_and_checkpoint();
      if (sample_is_due()) sample();
      if (due) stopped_early_ = must_stop_early();
    }
    if (stopped_early_) report_early_stop();
    collect();
    if (evaluation_is_due()) return;  // it has written the checkpoints
    check_weights();
    save_last();
  }

  void report_early_stop() {
    const int64_t step = trainer_.steps_done(), best = trainer_.counters.best_step;
    progress_.say(fmt::format(
        "stopping early at step {} of {}: the last {} evaluations were no better than that of step {}", step,
        trainer_.config().recipe.steps, evaluations_since_best(), best));
    if (!metrics_ || metrics_->has(step, kEnd)) return;
    write_row(
        {{"step", step}, {kEnd, kEarlyStop}, {"evaluations", evaluations_since_best()}, {"best_step", best}});
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
    // The row of the test score is the last, since it says that the run is done.
    const int64_t step = trainer_.steps_done(), best_step = trainer_.counters.best_step;
    const std::string written =
        write_sample(model, options_.sample_tokens, now || best_step == 0 ? step : best_step);
    if (trainer_.config().test && scores_.has_test()) score_test(model);
    if (!written.empty()) progress_.say(written);
    best_weights.reset();
    progress_.say(fmt::format("checkpoint: {}", (now ? options_.folder / kLastCheckpoint : best).string()));
  }

  // Names what all ranks do now, for the error of one that waits for another in vain.
  void name_work(const char* work) {
    ranks_.set_activity(fmt::format("{} after step {}", work, trainer_.steps_done()));
  }
  Evaluation evaluate_dev() {
    name_work("the evaluation");
    return scores_.dev();
  }

  // Evaluates the weights of now on dev, at a step whose evaluation is not due.
  bool weights_of_now_are_best() {
    if (!scores_.has_dev()) return true;
    const Evaluation evaluation = evaluate_dev();
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
    progress_.say(fmt::format("test: {} over {} symbols, window {}, {} (in {})",
                              score_text(level_, test, scores_.scored_bytes("test", test)), test.symbols,
                              trainer_.config().recipe.eval_window, trainer_.config().precision,
                              duration_text(test.seconds)));
  }

  // Lets the weights of now continue a text.
  void sample() {
    const int64_t early = level_ == TokenUnit::byte ? kEarlySample : kEarlySample / 5;
    const int64_t length = trainer_.config().sample_every > 0 ? options_.sample_tokens : early;
    on_leader([this, length] {
      const std::string written = write_sample(trainer_.model(), length, std::nullopt);
      if (!written.empty()) progress_.say(written);
    });
    last_collected_ = Clock::now();  // the next step's time does not include the sample
  }
  // Lets a model continue a text, and writes that to the metrics, unless they have it. `weights_of_step` tells which weights
  // a final sample is from. Returns the line for people; "" if there is no sample to write or the model gives none.
  std::string write_sample(const LanguageModel& model, int64_t length,
                           std::optional<int64_t> weights_of_step) {
    if (length == 0) return "";
    const int64_t step = trainer_.steps_done();
    Sample sample;
    try {
      sample = scores_.sample(model, length);
    } catch (const Error& error) {
      return fmt::format("note: there is no sample at step {}: {}", step, error.what());
    }
    nlohmann::ordered_json row = {{"step", step}};
    if (weights_of_step) row["weights_of_step"] = *weights_of_step;
    row["prompt"] = escaped_utf8(sample.prompt);
    row["sample"] = escaped_utf8(sample.text);
    if (weights_of_step) mark_end(row);
    if (!metrics_->has(step, weights_of_step ? "weights_of_step" : "sample")) write_row(row);
    return fmt::format("sample at step {}: [{}]{}", step, printable(sample.prompt), printable(sample.text));
  }

  // Tells how many words the vocabulary lacks, once in a run.
  void write_unknown_shares() {
    if (options_.unknown_shares.empty() || trainer_.steps_done() > 0 || metrics_->has(0, "unknown_train"))
      return;
    write_row({{"step", 0},
               {"unknown_train", options_.unknown_shares.at(0)},
               {"unknown_dev", options_.unknown_shares.at(1)},
               {"unknown_test", options_.unknown_shares.at(2)}});
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

  // Reports the steps since the last call, each with the mean of their times.
  void collect() {
    const std::vector<StepRecord> records = trainer_.collect();
    if (records.empty()) return;
    const double ms = 1e3 * seconds_since(last_collected_) / static_cast<double>(records.size());
    last_collected_ = Clock::now();
    for (const StepRecord& record : records) {
      progress_.step(record, ms);
      if (!ranks_.leads()) continue;
      write_row(step_row(record, ms, level_, peak_memory_bytes(trainer_.device())));
    }
    if (!said_refusal_ && !trainer_.graph_refusal().empty()) {
      progress_.say(
          fmt::format("steps run operator by operator, not as a CUDA graph: {}", trainer_.graph_refusal()));
      said_refusal_ = true;
    }
  }

  void say_dev(const Evaluation& evaluation, bool best) {
    progress_.say(fmt::format("dev: {} over {} symbols at step {}{} (in {})",
                              score_text(level_, evaluation, scores_.scored_bytes("dev", evaluation)),
                              evaluation.symbols, trainer_.steps_done(), best ? ", the best so far" : "",
                              duration_text(evaluation.seconds)));
  }

  // Evaluates on dev and writes the checkpoints.
  void evaluate_and_checkpoint() {
    check_weights();
    if (scores_.has_dev()) {
      const Evaluation evaluation = evaluate_dev();
      const double nats = evaluation.mean_nats();
      Trainer::RunCounters& counters = trainer_.counters;
      const bool best = std::isfinite(nats) && (counters.best_step == 0 || nats < counters.best_dev_nats);
      if (best) {
        counters.best_dev_nats = nats;
        counters.best_step = trainer_.steps_done();
      }
      if (counters.best_step > 0) progress_.set_best(counters.best_dev_nats);
      write_evaluation("dev", evaluation);
      say_dev(evaluation, best);
      if (best) save_best();
    } else {
      save_best();  // there is no dev split to choose by: keeps the latest
    }
    if (events_) {
      write_histograms(*events_, trainer_.steps_done(), "weights", trainer_.model().parameters());
      write_histograms(*events_, trainer_.steps_done(), "gradients", trainer_.gradients());
    }
    save_last();
    keep_checkpoint();
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
    name_work("the checkpoint");
    const Checkpoint checkpoint = trainer_.checkpoint();
    if (!ranks_.leads()) return;
    metrics_->sync();
    save_checkpoint((options_.folder / kLastCheckpoint).string(), checkpoint);
  }
  void save_best() {
    if (ranks_.leads()) save_checkpoint((options_.folder / kBestCheckpoint).string(), trainer_.weights());
  }

  // Writes a row of the metrics, on rank 0.
  void write_row(const nlohmann::ordered_json& row) {
    if (!metrics_) return;
    metrics_->write(row);
    if (events_) tandem::write_row(*events_, row);
  }

  void keep_checkpoint() {
    if (ranks_.leads()) keep_step_checkpoint(options_.folder, trainer_.steps_done(), trainer_.config().keep);
  }

  // Marks a row that the run writes because it ends here, before its last step.
  void mark_end(nlohmann::ordered_json& row) const {
    if (is_at_end()) return;
    if (stopped_early_)
      row[kEnd] = kEarlyStop;
    else
      row[kAtStop] = true;
  }

  void write_evaluation(const std::string& split, const Evaluation& evaluation) {
    nlohmann::ordered_json row = evaluation_row(trainer_.steps_done(), split, level_, evaluation,
                                                scores_.scored_bytes(split, evaluation));
    if (split == "test" || !evaluation_is_due()) mark_end(row);
    write_row(row);
  }

  static constexpr const char* kEarlyStop = "early_stop";
  static constexpr int64_t kLongestWait = 100;  // steps on a GPU after which losses are fetched at the latest

  Trainer& trainer_;
  RunOptions options_;
  TokenUnit level_;
  int64_t last_step_;
  Ranks& ranks_;
  std::optional<MetricsLog> metrics_;  // on rank 0
  std::optional<EventFile> events_;    // on rank 0, with --tensorboard
  Progress progress_;
  RunScores scores_;
  int64_t collect_every_;
  Clock::time_point last_collected_;
  bool stopped_early_ = false;
  bool said_refusal_ = false;
  StopSignals signals_;
  int stop_signal_ = 0;  // the one that all ranks stop for
  bool alone_ = false;   // rank 0 works while the others wait
};

}  // namespace

ProgressOptions progress_options(const Trainer& trainer, const RunOptions& options) {
  return {.every = options.log_every,
          .device = trainer.device(),
          .level = trainer.vocabulary().level(),
          .flops_per_token = training_flops_per_token(trainer),
          .peak_flops = options.peak_tflops * 1e12,
          .eval_every = trainer.config().recipe.eval_every};
}

RunEnd run_training(Trainer& trainer, const Corpus& corpus, const RunOptions& options) {
  if (trainer.ranks().leads()) std::filesystem::create_directories(options.folder);
  const PrecisionScope precision(trainer.precision(), trainer.device());  // for evaluations and samples
  return Run(trainer, corpus, options).run();
}

}  // namespace tandem
