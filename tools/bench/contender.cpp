// The three tasks of a contender, and their flags.
#include "tools/bench/contender.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/data/batch_stream.h"
#include "tandem/data/download/files.h"
#include "tandem/models/training/checkpoint.h"
#include "tandem/models/training/evaluation.h"
#include "tandem/models/training/model_file.h"
#include "tandem/models/training/trainer.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/device.h"
#include "tools/bench/timing.h"

namespace tandem {
namespace {

using nlohmann::json;

struct Options {
  std::string task, checkpoint, text;
  std::string precision = "f32";
  int64_t steps = 1;    // timed training steps, generation steps or segments
  int64_t warm_up = 2;  // untimed steps before them; training and evaluation have one more
  int64_t window = 2560;
  int64_t memory = 1;
  std::vector<int64_t> batches = {1, 32};
  bool recompute = false;
};

void tell(const json& facts) {
  std::cout << facts.dump() << std::endl;
}

void train(const Options& options, std::span<const uint8_t> text) {
  Checkpoint checkpoint = load_checkpoint(options.checkpoint);
  RunConfig config = RunConfig::from_text(checkpoint.run_config);
  config.precision = options.precision;
  config.recompute = options.recompute;
  Trainer trainer(config, {text, checkpoint.vocabulary}, checkpoint.vocabulary);
  const std::vector<NamedTensor> parameters = trainer.model().parameters();
  TANDEM_CHECK(parameters.size() == checkpoint.parameters.size(), "{}: other parameters than its model's",
               options.checkpoint);
  for (size_t i = 0; i < parameters.size(); ++i) copy(parameters[i].value, checkpoint.parameters[i].value);
  checkpoint.parameters.clear();

  std::vector<double> losses, ms;
  const auto step = [&trainer, &losses] { losses.push_back(trainer.step().loss); };
  step();
  tell({{"first_loss", losses[0]}});
  for (int64_t i = 0; i < options.warm_up; ++i) step();
  for (int64_t i = 0; i < options.steps; ++i) ms.push_back(time_ms(step));
  tell({{"losses", losses}, {"ms", ms}});
}

void evaluate(const Options& options, std::span<const uint8_t> text) {
  const PrecisionScope precision(precision_named(options.precision), Device::cpu());
  const LoadedModel loaded = load_model_file(options.checkpoint);
  const int64_t untimed = 1 + options.warm_up;
  const Tokens tokens = Tokens(text, loaded.vocabulary).first(options.window * (untimed + options.steps) + 1);
  std::vector<double> ends;
  const Evaluation result =
      evaluate(*loaded.model, tokens, {.window = options.window},
               [&ends](const Evaluation& so_far, int64_t) { ends.push_back(1e3 * so_far.seconds); });
  std::vector<double> ms;
  for (size_t i = static_cast<size_t>(untimed); i < ends.size(); ++i) ms.push_back(ends[i] - ends[i - 1]);
  tell({{"nats", result.mean_nats()}, {"ms", ms}});
}

// Returns -log p(target) for a row of logits.
double nats_of(std::span<const float> logits, int32_t target) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - highest);
  return std::log(sum) + highest - logits[static_cast<size_t>(target)];
}

// Generates greedily after a prompt as long as the memory, so that every step attends to the full memory.
json decode(const Options& options, const LoadedModel& loaded, const Tokens& tokens, int64_t batch) {
  const std::unique_ptr<Decoder> decoder =
      loaded.model->decoder(batch, {.memory = options.memory, .same_length = true});
  std::vector<int32_t> inputs, targets;
  TokenColumns(tokens, batch).gather(0, options.memory, inputs, targets);
  const auto width = static_cast<size_t>(tokens.vocabulary_size()), rows = static_cast<size_t>(batch);
  std::vector<float> logits;
  const auto read = [&](const std::vector<int32_t>& ids) {
    logits = decoder->step(tensor_of({batch}, ids)).to(DType::f32).to_vector<float>();
  };
  const auto row = [&](size_t i) { return std::span<const float>(logits).subspan(i * width, width); };
  double nats = 0;
  for (auto at = inputs.begin(), target = targets.begin(); at != inputs.end(); at += batch) {
    read({at, at + batch});
    for (size_t i = 0; i < rows; ++i) nats += nats_of(row(i), *target++);
  }
  const auto step = [&] {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < rows; ++i) {
      const std::span<const float> of_row = row(i);
      ids.push_back(static_cast<int32_t>(std::max_element(of_row.begin(), of_row.end()) - of_row.begin()));
    }
    read(ids);
  };
  for (int64_t i = 0; i < options.warm_up; ++i) step();
  std::vector<double> ms;
  for (int64_t i = 0; i < options.steps; ++i) ms.push_back(time_ms(step));
  return {{fmt::format("nats_{}", batch), nats / static_cast<double>(inputs.size())},
          {fmt::format("ms_{}", batch), ms}};
}

void generate(const Options& options, std::span<const uint8_t> text) {
  const PrecisionScope precision(precision_named(options.precision), Device::cpu());
  const LoadedModel loaded = load_model_file(options.checkpoint);
  const Tokens tokens(text, loaded.vocabulary);
  for (const int64_t batch : options.batches) tell(decode(options, loaded, tokens, batch));
}

void run(const Options& options) {
  const std::vector<uint8_t> text = read_file(options.text);
  (options.task == "train" ? train : options.task == "evaluate" ? evaluate : generate)(options, text);
}

}  // namespace

int contender_main(int argc, char** argv) {
  Flags flags("bench contender",
              "Runs one task of `bench vs-pytorch` and prints what it measured as lines of JSON.");
  Options options;
  flags.add("--task", options.task, "The task.").required().one_of({"train", "generate", "evaluate"});
  flags.add("--checkpoint", options.checkpoint, "The weights; the recipe has the sizes of training.")
      .required();
  flags.add("--text", options.text, "File to train on, to evaluate, and to take prompts from.").required();
  flags.add("--precision", options.precision, "Precision of matrix products.")
      .one_of({"f32", "bf16"})
      .show_default();
  flags.add("--steps", options.steps, "Number of timed training steps, generation steps or segments.")
      .required()
      .positive();
  flags.add("--warm-up", options.warm_up, "Number of untimed steps before them.")
      .non_negative()
      .show_default();
  flags.add_switch("--recompute", options.recompute,
                   "In training, run each layer again in the backward pass.");
  flags.add("--window", options.window, "In evaluation, tokens of a segment.").positive();
  flags.add("--memory", options.memory, "In generation, number of keys that a token sees besides its own.")
      .positive();
  flags.add("--batches", options.batches, "In generation, numbers of rows.").comma_separated().positive();
  return run_main(flags, argc, argv, [&options] { run(options); });
}

}  // namespace tandem
