// The training loop.
#include "tools/run/training_run.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "models/registry.h"
#include "models/training/evaluation.h"
#include "models/training/sampling.h"
#include "models/training/score.h"
#include "tools/run/cli.h"
#include "tools/run/metrics.h"
#include "tools/run/progress.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

volatile std::sig_atomic_t received_signal = 0;

void note_signal(int signal) {
  received_signal = signal;
}

// While it lives, the first SIGINT or SIGTERM asks for an orderly end; a second one kills as usual.
class SignalGuard {
 public:
  SignalGuard() {
    received_signal = 0;
    struct sigaction action {};
    action.sa_handler = note_signal;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, &old_int_);
    sigaction(SIGTERM, &action, &old_term_);
  }
  ~SignalGuard() {
    sigaction(SIGINT, &old_int_, nullptr);
    sigaction(SIGTERM, &old_term_, nullptr);
  }

 private:
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
};

class Run {
 public:
  Run(Trainer& trainer, const Corpus& corpus, const RunOptions& options)
      : trainer_(trainer),
        corpus_(corpus),
        options_(options),
        level_(trainer.vocabulary().level()),
        last_step_(options.max_steps > 0 ? std::min(options.max_steps, trainer.config().recipe.steps)
                                         : trainer.config().recipe.steps),
        metrics_((options.folder / "metrics.jsonl").string(), trainer.steps_done()),
        progress_(trainer.steps_done(), last_step_, progress_options(trainer, options)),
        collect_every_(trainer.device().is_cuda() ? std::min(options.log_every, kLongestWait) : 1) {
    check_evaluations();
  }

  RunEnd loop() {
    const SignalGuard guard;
    const Clock::time_point start = Clock::now();
    const int64_t eval_every = trainer_.config().recipe.eval_every;
    last_collected_ = start;
    while (trainer_.steps_done() < last_step_) {
      if (options_.max_seconds > 0 && seconds_since(start) >= options_.max_seconds) {
        collect();
        progress_.say(fmt::format("stopping at step {}: --max-time is over", trainer_.steps_done()));
        break;
      }
      if (received_signal != 0) {
        collect();
        save_last();
        return stopped();
      }
      trainer_.advance();
      const bool evaluate = trainer_.steps_done() % eval_every == 0;
      if (evaluate || trainer_.steps_done() % collect_every_ == 0 || trainer_.steps_done() == last_step_)
        collect();
      if (evaluate && trainer_.steps_done() < last_step_) evaluate_and_checkpoint();
    }
    evaluate_and_checkpoint();
    return received_signal == 0 ? RunEnd::done : stopped();
  }

  void report_test_score() {
    const std::string best = (options_.folder / kBestCheckpoint).string();
    const Checkpoint checkpoint = load_checkpoint(best, CheckpointPart::model);
    const std::unique_ptr<LanguageModel> model = make_model(checkpoint.model_config, 0, trainer_.device());
    model->load(checkpoint.parameters);
    const Recipe& recipe = trainer_.config().recipe;
    if (options_.test && corpus_.test.size() > 1) {
      const Evaluation test =
          evaluate(*model, corpus_.split("test"), evaluation_options(recipe, kFinalBatchSize));
      write_evaluation("test", test);
      progress_.say(fmt::format("test: {} over {} symbols, window {}, {} (in {})",
                                score_text(level_, test.mean_nats()), test.symbols, recipe.eval_window,
                                trainer_.config().precision, duration_text(test.seconds)));
    }
    if (options_.sample_tokens > 0) progress_.say(sample(*model, options_.sample_tokens));
    progress_.say(fmt::format("checkpoint: {}", best));
  }

 private:
  static constexpr int64_t kFinalBatchSize =
      1;  // one column, as in the papers: every symbol has its whole context
  static constexpr int64_t kEarlySample = 120;  // bytes of the first sample; of words a fifth as many

  RunEnd stopped() {
    progress_.say(fmt::format("stopped by signal {} at step {}; --resume goes on from {}",
                              int{received_signal}, trainer_.steps_done(),
                              (options_.folder / kLastCheckpoint).string()));
    return RunEnd::stopped_by_signal;
  }

  // Returns the part of the dev split that evaluations during training score.
  Tokens dev() const {
    const Tokens all = corpus_.split("dev");
    const int64_t limit = trainer_.config().recipe.eval_bytes;
    return limit > 0 && limit < all.size() ? all.first(limit) : all;
  }

  // Builds the streams of the evaluations before the first step, so that an error does not come after hours.
  void check_evaluations() const {
    const Recipe& recipe = trainer_.config().recipe;
    if (corpus_.dev.size() > 1) EvaluationStream(dev(), recipe.eval_window, recipe.eval_batch_size);
    if (corpus_.test.size() > 1) EvaluationStream(corpus_.split("test"), recipe.eval_window, kFinalBatchSize);
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
      metrics_.write({{"step", record.step},
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

  // Evaluates on dev, writes the checkpoints and, the first time, prints a sample.
  void evaluate_and_checkpoint() {
    if (corpus_.dev.size() > 1) {
      const Recipe& recipe = trainer_.config().recipe;
      const Evaluation evaluation =
          evaluate(trainer_.model(), dev(), evaluation_options(recipe, recipe.eval_batch_size));
      const double nats = evaluation.mean_nats();
      Trainer::RunCounters& counters = trainer_.counters;
      const bool best = std::isfinite(nats) && (counters.best_step == 0 || nats < counters.best_dev_nats);
      if (best) {
        counters.best_dev_nats = nats;
        counters.best_step = trainer_.steps_done();
      }
      write_evaluation("dev", evaluation);
      progress_.say(fmt::format("dev: {} over {} symbols at step {}{} (in {})", score_text(level_, nats),
                                evaluation.symbols, trainer_.steps_done(), best ? ", the best so far" : "",
                                duration_text(evaluation.seconds)));
      if (best) save_best();
    } else {
      save_best();  // there is no dev split to choose by: keeps the latest
    }
    save_last();
    if (!sampled_ && trainer_.steps_done() < last_step_ && options_.sample_tokens > 0) {
      progress_.say(sample(trainer_.model(), level_ == TokenUnit::byte ? kEarlySample : kEarlySample / 5));
      sampled_ = true;
    }
    last_collected_ = Clock::now();  // the next step's time does not include the evaluation
  }

  // Lets the model continue the beginning of the held-out split.
  std::string sample(const LanguageModel& model, int64_t tokens) {
    const Tokens held_out = corpus_.split(corpus_.test.size() > 1 ? "test" : "train");
    std::vector<int32_t> prompt;
    const int64_t length = level_ == TokenUnit::byte ? kPrompt : kPrompt / 4;
    for (int64_t i = 0; i < std::min(held_out.size(), length); ++i) prompt.push_back(held_out[i]);
    const std::string text = trainer_.vocabulary().decode(prompt);
    SamplingOptions sampling;
    sampling.temperature = 0.8;
    sampling.seed = trainer_.config().seed;
    const std::string more = generate_text(model, trainer_.vocabulary(), text, tokens, sampling,
                                           evaluation_options(trainer_.config().recipe, 1).context());
    return fmt::format("sample at step {}: [{}]{}", trainer_.steps_done(), text, more);
  }

  void save_last() { save_checkpoint((options_.folder / kLastCheckpoint).string(), trainer_.checkpoint()); }
  void save_best() { save_checkpoint((options_.folder / kBestCheckpoint).string(), trainer_.weights()); }

  void write_evaluation(const std::string& split, const Evaluation& evaluation) {
    metrics_.write({{"step", trainer_.steps_done()},
                    {split + "_" + score_name(level_), score(level_, evaluation.mean_nats())},
                    {split + "_nats", evaluation.mean_nats()},
                    {"symbols", evaluation.symbols}});
  }

  static constexpr int64_t kPrompt = 64;        // bytes of a sample's prompt; of words a quarter as many
  static constexpr int64_t kLongestWait = 100;  // steps on a GPU after which losses are fetched at the latest

  Trainer& trainer_;
  const Corpus& corpus_;
  RunOptions options_;
  TokenUnit level_;
  int64_t last_step_;
  MetricsLog metrics_;
  Progress progress_;
  int64_t collect_every_;
  Clock::time_point last_collected_;
  bool sampled_ = false;
  bool said_refusal_ = false;
};

}  // namespace

RunEnd run_training(Trainer& trainer, const Corpus& corpus, const RunOptions& options) {
  std::filesystem::create_directories(options.folder);
  const PrecisionScope precision(trainer.precision(), trainer.device());  // for evaluations and samples
  Run run(trainer, corpus, options);
  const RunEnd end = run.loop();
  if (end == RunEnd::done) run.report_test_score();
  return end;
}

}  // namespace tandem
