// generate: a model continues a prompt, byte by byte or word by word, on the terminal.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <optional>

#include "core/check.h"
#include "models/training/sampling.h"
#include "tools/run/cli.h"
#include "tools/run/model_options.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  ModelOptions model;
  SamplingOptions sampling;
  std::string prompt;
  int64_t tokens = 400;
};

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// At once, whatever the stream would rather collect.
void put(std::string_view text) {
  const bool written =
      std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  CHECK(written, "generate: cannot write the text to the standard output");
}

void run(const Options& options) {
  const Device device = options.model.resolved_device();
  const PrecisionScope precision(options.model.products(), device);
  const LoadedModel loaded = options.model.load();
  const AttentionContext context = options.model.evaluation_for(loaded).context();
  std::string prompt = options.prompt;
  if (prompt == "-") prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  check_prompt(loaded.vocabulary, prompt);  // before anything is printed
  std::cerr << device_line(device) << '\n' << model_line(loaded, options.model) << std::endl;

  put(prompt);
  const Clock::time_point start = Clock::now();
  std::optional<Clock::time_point> first;
  const std::string text = generate_text(*loaded.model, loaded.vocabulary, prompt, options.tokens,
                                         options.sampling, context, [&first](std::string_view piece) {
                                           if (!first) first = Clock::now();
                                           put(piece);
                                         });
  const Clock::time_point end = Clock::now();
  const char* unit = tokens_name(loaded.vocabulary.level());
  if (isatty(STDOUT_FILENO)) put("\n");
  std::cerr << fmt::format("prompt: {} {} in {:.2f} s", loaded.vocabulary.encode(prompt).size(), unit,
                           seconds_between(start, first.value_or(end)));
  if (options.tokens > 1) {
    const double seconds = seconds_between(*first, end);
    std::cerr << fmt::format("; generated: {} {} in {:.2f} s, {:.0f} {}/s", options.tokens, unit, seconds,
                             static_cast<double>(options.tokens - 1) / seconds, unit);
  }
  std::cerr << std::endl;
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  using namespace tandem;
  limit_openmp_spinning(argv);
  CLI::App app("Continues a prompt with a model, writing each byte or word as it is drawn.", "generate");
  Options options;
  add_model_options(app, options.model);
  app.add_option("--prompt", options.prompt,
                 "text to continue; - reads it from the standard input; without one, a new line begins")
      ->expected(0, 1);
  app.add_option("--bytes,--tokens", options.tokens, "how many to draw, bytes or words")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--temperature", options.sampling.temperature,
                 "divides the logits; 0: always the most probable token")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--top-k", options.sampling.top_k, "draw from the k most probable tokens; 0: from all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--top-p", options.sampling.top_p,
                 "draw from the most probable tokens that reach this probability")
      ->capture_default_str();
  app.add_option("--seed", options.sampling.seed, "same seed, same text")->capture_default_str();
  return run_main(app, argc, argv, [&options] {
    try {
      options.sampling.check();
    } catch (const Error& error) {
      throw UsageError(error.what());
    }
    run(options);
  });
}
