// Command lines of train: one argument a line. They are parsed or refused as wrong usage; what is parsed lies in the ranges
// that the flags state, and a number is the one that was typed.
#include <algorithm>
#include <charconv>
#include <iostream>
#include <limits>
#include <regex>
#include <sstream>

#include "mutators.h"
#include "support.h"
#include "tandem/tools/run/train_options.h"

namespace tandem::fuzz {
namespace {

// The flags of train and the values of those that have a list of them, as --help prints them.
struct Vocabulary {
  std::vector<std::string> flags, values;

  explicit Vocabulary(const std::string& help) {
    static const std::regex flag("--[a-z][a-z0-9-]*"), list("\\{([^{}]*)\\}"), value("[^,\\s]+");
    const auto all = [](const std::string& text, const std::regex& pattern, size_t group) {
      std::vector<std::string> found;
      for (std::sregex_iterator i(text.begin(), text.end(), pattern), end; i != end; ++i)
        found.push_back((*i)[group]);
      return found;
    };
    flags = all(help, flag, 0);
    std::sort(flags.begin(), flags.end());
    flags.erase(std::unique(flags.begin(), flags.end()), flags.end());
    std::erase(flags, "--config");  // it would read any file of the machine
    for (const std::string& values_of_one : all(help, list, 1))
      for (const std::string& one : all(values_of_one, value, 0)) values.push_back(one);
    require(flags.size() > 50 && std::ranges::count(values, "subword") > 0,
            "the help names flags and values");
  }
};

bool one_of(const std::string& value, std::initializer_list<const char*> values) {
  return std::ranges::count(values, value) > 0;
}

// Requires of a flag with a whole number that it has the value that was typed last, which is at least `least`.
void check_number(const Flags& flags, const std::string& name, std::optional<int64_t> value, int64_t least) {
  if (!flags.given(name)) return;
  require(value && *value >= least, name + " is in its range");
  const std::string typed = flags.values(name).back();
  const size_t sign = typed.starts_with('+') ? 1 : 0;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(typed.data() + sign, typed.data() + typed.size(), number);
  require(error == std::errc() && end == typed.data() + typed.size() && number == *value,
          name + " has the value that was typed: " + typed);
}

void check_options(const Flags& flags, const TrainOptions& o) {
  constexpr int64_t kAny = std::numeric_limits<int64_t>::min();
  require(o.level.empty() || one_of(o.level, {"byte", "subword", "word"}), "--level is one of its values");
  require(one_of(o.precision, {"auto", "f32", "tf32", "bf16"}), "--precision is one of its values");
  require(one_of(o.device, {"auto", "cpu", "cuda"}), "--device is one of its values");
  require(!flags.given("--peak-tflops") || o.run.peak_tflops > 0, "--peak-tflops is positive");
  require(!o.corpus.name_or_path.empty() && flags.given("corpus"), "a corpus is named");
  check_number(flags, "--vocab-size", o.corpus.words.size, 1);
  check_number(flags, "--min-count", o.corpus.words.min_count, 1);
  check_number(flags, "--max-steps", o.run.max_steps, 1);
  check_number(flags, "--log-every", o.run.log_every, 1);
  check_number(flags, "--max-skipped", o.max_skipped, 1);
  check_number(flags, "--eval-every", o.eval_every, 1);
  check_number(flags, "--sample-bytes", o.sample_tokens, 0);
  check_number(flags, "--sample-every", o.sample_every, 0);
  check_number(flags, "--eval-bytes", o.eval_bytes, 0);
  check_number(flags, "--keep", o.keep, 0);
  check_number(flags, "--early-stop", o.early_stop, 0);
  check_number(flags, "--imitate-steps", o.imitate_steps, 0);
  check_number(flags, "--reset-every", o.reset_every, 0);
  check_number(flags, "--d", o.d, kAny);
  check_number(flags, "--layers", o.layers, kAny);
  check_number(flags, "--steps", o.steps, kAny);
  check_number(flags, "--eval-memory", o.eval_memory, kAny);
}

// Parses a command line, or finds that it is wrong usage.
void parse(const std::vector<std::string>& arguments) {
  std::vector<std::string> copy = arguments;
  std::vector<char*> argv;
  for (std::string& argument : copy) argv.push_back(argument.data());
  argv.push_back(nullptr);
  TrainOptions options;
  Flags flags("train", "Trains a model.");
  add_train_flags(flags, options);
  try {
    if (flags.parse(static_cast<int>(copy.size()), argv.data())) check_options(flags, options);
  } catch (const UsageError&) {
  }
}

const Vocabulary& vocabulary() {
  static const Vocabulary vocabulary = [] {
    std::ostringstream help;
    std::streambuf* const terminal = std::cout.rdbuf(help.rdbuf());
    parse({"train", "--help"});
    std::cout.rdbuf(terminal);
    return Vocabulary(help.str());
  }();
  return vocabulary;
}

}  // namespace
}  // namespace tandem::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  tandem::fuzz::vocabulary();
  std::cout.setstate(std::ios::badbit);  // --help prints nothing
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  using namespace tandem::fuzz;
  return mutate_arguments(data, size, max_size, seed, "flags", vocabulary().flags, vocabulary().values);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem::fuzz;
  std::vector<std::string> arguments = {"train"};
  // As in C, an argument ends at a zero byte.
  std::istringstream lines{std::string(text_of(data, size))};
  for (std::string line; std::getline(lines, line);)
    if (!line.starts_with("--config"))
      arguments.emplace_back(line.c_str());  // it would read any file of the machine
  parse(arguments);
  return 0;
}
