// Command lines of train: one argument a line. They are parsed or refused as wrong usage, and what is parsed lies in the
// ranges that the flags state.
#include <iostream>
#include <sstream>

#include "support.h"
#include "tandem/tools/run/train_options.h"

namespace tandem::fuzz {
namespace {

bool positive(const std::optional<int64_t>& value) {
  return !value || *value > 0;
}

void check_ranges(const Flags& flags, const TrainOptions& o) {
  require(o.level.empty() || o.level == "byte" || o.level == "word", "--level is one of its values");
  require(o.precision == "auto" || o.precision == "f32" || o.precision == "tf32" || o.precision == "bf16",
          "--precision is one of its values");
  require(o.corpus.words.size >= (flags.given("--vocab-size") ? 1 : 0), "--vocab-size is positive");
  require(o.corpus.words.min_count > 0, "--min-count is positive");
  require(!flags.given("--max-steps") || o.run.max_steps > 0, "--max-steps is positive");
  require(!flags.given("--peak-tflops") || o.run.peak_tflops > 0, "--peak-tflops is positive");
  require(o.run.log_every > 0 && o.max_skipped > 0 && positive(o.eval_every),
          "numbers of steps are positive");
  require(o.sample_tokens.value_or(0) >= 0 && o.eval_bytes.value_or(0) >= 0,
          "numbers of tokens are not negative");
  require(!o.corpus.name_or_path.empty() || flags.given("corpus"), "a corpus is named");
}

}  // namespace
}  // namespace tandem::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  std::cout.setstate(std::ios::badbit);  // --help prints nothing
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  using namespace tandem::fuzz;
  std::vector<std::string> arguments = {"train"};
  // As in C, an argument ends at a zero byte.
  std::istringstream lines{std::string(text_of(data, size))};
  for (std::string line; std::getline(lines, line);)
    if (!line.starts_with("--config"))
      arguments.emplace_back(line.c_str());  // it would read any file of the machine
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  TrainOptions options;
  Flags flags("train", "Trains a model.");
  add_train_flags(flags, options);
  try {
    if (flags.parse(static_cast<int>(arguments.size()), argv.data())) check_ranges(flags, options);
  } catch (const UsageError&) {
  }
  return 0;
}
