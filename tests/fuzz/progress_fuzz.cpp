// The progress of a checkpoint: a trainer resumes at what a text says, or refuses it by an Error.
#include <nlohmann/json.hpp>

#include "mutators.h"
#include "support.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/trainer.h"

namespace tandem::fuzz {
namespace {

// A trainer of a tiny model, made once.
class SmallRun {
 public:
  SmallRun() : trainer_(config(), Tokens(text_, vocabulary_), vocabulary_), start_(trainer_.checkpoint()) {}
  Trainer& trainer() { return trainer_; }
  const Checkpoint& start() const { return start_; }

 private:
  static RunConfig config() {
    RunConfig config;
    config.model_config = make_model(R"({"model":"sru","d":4,"layers":1,"vocabulary":3})", 1)->config();
    config.recipe = laptop_recipe(1e-3, 100);
    config.recipe.batch_size = 2;
    config.recipe.unroll = 4;
    return config;
  }

  const std::vector<uint8_t> text_ = [] {
    std::vector<uint8_t> text;
    for (int i = 0; i < 200; ++i) text.push_back(static_cast<uint8_t>('a' + i * i % 3 + i % 2));
    return text;
  }();
  const Vocabulary vocabulary_ = Vocabulary::of(text_);
  Trainer trainer_;
  Checkpoint start_;
};

}  // namespace
}  // namespace tandem::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  return tandem::fuzz::mutate_json(data, size, max_size, seed, "progress");
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  using namespace tandem::fuzz;
  static SmallRun run;
  Checkpoint checkpoint = run.start();
  checkpoint.progress = text_of(data, size);
  if (!accepts([&] { run.trainer().restore(checkpoint); })) return 0;

  const auto given = nlohmann::json::parse(checkpoint.progress);
  const auto resumed = nlohmann::json::parse(run.trainer().checkpoint().progress);
  for (const auto& [name, value] : resumed.items())
    require(!given.contains(name) || given[name] == value,
            "a trainer resumes at what the text says: " + name);
  require(run.trainer().steps_done() >= 0 && run.trainer().steps_skipped() >= 0,
          "counts of steps are not negative");
  return 0;
}
