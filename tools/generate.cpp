// generate: a model continues a prompt, byte by byte, on the terminal.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <optional>

#include "core/check.h"
#include "tools/support/cli.h"
#include "tools/support/model_options.h"
#include "tools/support/sampling.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  ModelOptions model;
  SamplingOptions sampling;
  std::string prompt;
  int64_t bytes = 400;
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
  const Context context = options.model.evaluation_for(loaded).context();
  std::string prompt = options.prompt;
  if (prompt == "-") prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  check_prompt(loaded.vocabulary, prompt);  // before anything is printed
  std::cerr << device_line(device) << '\n' << model_line(loaded, options.model) << std::endl;

  put(prompt);
  const Clock::time_point start = Clock::now();
  std::optional<Clock::time_point> first;
  const std::string text = generate_text(*loaded.model, loaded.vocabulary, prompt, options.bytes,
                                         options.sampling, context, [&first](char byte) {
                                           if (!first) first = Clock::now();
                                           put({&byte, 1});
                                         });
  const Clock::time_point end = Clock::now();
  if (isatty(STDOUT_FILENO)) put("\n");
  std::cerr << fmt::format("prompt: {} bytes in {:.2f} s", prompt.size(),
                           seconds_between(start, first.value_or(end)));
  if (options.bytes > 1) {
    const double seconds = seconds_between(*first, end);
    std::cerr << fmt::format("; generated: {} bytes in {:.2f} s, {:.0f} bytes/s", options.bytes, seconds,
                             static_cast<double>(options.bytes - 1) / seconds);
  }
  std::cerr << std::endl;
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  using namespace tandem;
  CLI::App app("Continues a prompt with a model, writing each byte as it is drawn.", "generate");
  Options options;
  add_model_options(app, options.model);
  app.add_option("--prompt", options.prompt,
                 "text to continue; - reads it from the standard input; without one, a new line begins")
      ->expected(0, 1);
  app.add_option("--bytes", options.bytes, "how many to draw")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--temperature", options.sampling.temperature,
                 "divides the logits; 0: always the most probable byte")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--top-k", options.sampling.top_k, "draw from the k most probable bytes; 0: from all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--top-p", options.sampling.top_p,
                 "draw from the most probable bytes that reach this probability")
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
