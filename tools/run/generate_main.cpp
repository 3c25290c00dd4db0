// generate_main(): loads a model and lets it continue a prompt on the standard output.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <optional>

#include "tandem/core/check.h"
#include "tandem/models/training/sampling.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/model_options.h"
#include "tandem/tools/run/programs.h"

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

// Writes the text and flushes it. Error: it cannot be written.
void put(std::string_view text) {
  const bool written =
      std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  TANDEM_CHECK(written, "generate: cannot write the text to the standard output");
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

constexpr const char* kManual =
    R"(Examples:
  {program} --checkpoint=runs/gcide-laptop/best.safetensors --prompt="Tandem, n." --bytes=400 --temperature=0.8
  {program} --checkpoint=runs/gcide-words/best.safetensors --prompt="a kind of" --tokens=80

The prompt and each byte, subword or word are written to the standard output as soon as they are
drawn; device, model and speed go to the standard error. The model runs one time step at a time with
its keys, values and cell state cached; the probabilities are those that evaluate scores with. They
are shaped in this order: --temperature divides the logits, --top-k keeps the k most probable tokens,
and --top-p keeps the most probable of these that together reach the given probability. The same
--seed gives the same text.

Without a prompt the text begins after a newline, or after the first byte of a vocabulary that has
none. A prompt of words is split at blanks; a word that the model does not know is <unk> to it, and
<eos> is written as a newline. A prompt of subwords may be any bytes; it is best ended at the end of
a word, without a blank, since a blank belongs to the subword after it. What is drawn may be a part
of a character, which the next bytes complete.

--precision=int8 multiplies by the codes of a quantized checkpoint: activations are rounded to 8
bits row by row, and products are summed in 32-bit integers. It applies to linear layers, LSTMs and
adaptive softmaxes; everything else stays in f32. The f32 weights stay in memory, so this saves time
and not memory. With --precision=bf16 on a CPU, the linear layers keep 2 more bytes a weight, and
keys and values are cached in bf16.)";

}  // namespace

int generate_main(int argc, char** argv) {
  Flags flags(program_name(argv),
              "Continues a prompt with a model, writing each byte, subword or word as it is drawn.", kManual);
  Options options;
  add_model_flags(flags, options.model);
  add_verify_flag(flags);
  flags
      .add(
          "--prompt", options.prompt,
          "Text to continue; - reads it from the standard input. Without a prompt, the text begins on a new line.")
      .optional_value();
  flags.add("--bytes,--tokens", options.tokens, "Number of bytes, subwords or words to draw.")
      .non_negative()
      .show_default();
  flags
      .add("--temperature", options.sampling.temperature,
           "Divides the logits; 0: always take the most probable token.")
      .non_negative()
      .show_default();
  flags.add("--top-k", options.sampling.top_k, "Draw from the k most probable tokens; 0: from all.")
      .non_negative()
      .show_default();
  flags
      .add("--top-p", options.sampling.top_p,
           "Draw from the most probable tokens that together reach this probability.")
      .show_default();
  flags.add("--seed", options.sampling.seed, "Seed of the draws.").show_default();
  return run_main(flags, argc, argv, [&options] {
    try {
      options.sampling.check();
    } catch (const Error& error) {
      throw UsageError(error.what());
    }
    run(options);
  });
}

}  // namespace tandem
