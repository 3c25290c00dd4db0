// serve_main(): loads a model and answers requests over HTTP until a signal stops it.
#include <chrono>
#include <filesystem>
#include <iostream>
#include <thread>

#include "tandem/core/check.h"
#include "tandem/core/utf8.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/model_options.h"
#include "tandem/tools/run/output.h"
#include "tandem/tools/run/programs.h"
#include "tandem/tools/run/serve/batcher.h"
#include "tandem/tools/run/serve/http_server.h"
#include "tandem/tools/run/stop_signals.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  ModelOptions model;
  HttpServerOptions server;
  BatcherOptions batcher;
  double grace = 3;  // seconds
};

// Returns a name for the model of a checkpoint: "gcide-laptop/best" for runs/gcide-laptop/best.safetensors.
std::string name_of(const std::filesystem::path& checkpoint) {
  const std::filesystem::path folder = std::filesystem::absolute(checkpoint).parent_path().filename();
  return escaped_utf8((folder / checkpoint.stem()).string());
}

// Lets the sequences that have been taken in end, for `grace` seconds, and cuts those that have not. Returns their number.
int64_t finish(Batcher& batcher, const HttpServer& server, double grace) {
  batcher.close();
  const Clock::time_point start = Clock::now();
  const auto seconds = [start] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  while (seconds() < grace && batcher.turn()) {
  }
  const int64_t cut = batcher.cut("the server is stopping");
  const double ended = seconds();
  while (server.open_answers() > 0 && seconds() < ended + 1)  // the last bytes are on their way
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return cut;
}

void run(Options& options) {
  const Device device = options.model.resolved_device();
  const PrecisionScope precision(options.model.products(), device);
  const LoadedModel loaded = options.model.load();
  const AttentionContext context = options.model.evaluation_for(loaded).context();
  if (options.server.model.empty()) options.server.model = name_of(options.model.checkpoint);
  options.server.limits.choices = options.batcher.queue;
  options.server.connections = options.batcher.max_batch + options.batcher.queue + 16;
  Batcher batcher(*loaded.model, context, options.batcher);
  const StopSignals signals;
  HttpServer server(options.server, loaded.vocabulary, batcher);
  std::cerr << device_line(device) << '\n' << model_line(loaded, options.model) << std::endl;
  server.start();
  const bool v6 = options.server.host.find(':') != std::string::npos;
  say(fmt::format("serving {} on http://{}{}{}:{}/\n", options.server.model, v6 ? "[" : "",
                  options.server.host, v6 ? "]" : "", server.port()));
  while (signals.received() == 0)
    if (!batcher.turn()) batcher.wait(std::chrono::milliseconds(100));
  const int64_t cut = finish(batcher, server, options.grace);
  server.stop();
  if (cut > 0)
    throw StoppedBySignal(
        fmt::format("stopped by signal {}: {} choices were not complete", signals.received(), cut));
}

constexpr const char* kManual =
    R"(Examples:
  {program} runs/gcide-laptop/best.safetensors
  curl http://127.0.0.1:8000/v1/completions -d '{"prompt": "Tandem, n.", "max_tokens": 200, "stream": true}'

/ is a page to type in, /health says that the server is up and how many sequences run and wait,
/v1/models names the model, and /v1/completions continues texts, in the form of OpenAI's API: prompt
(a text or a list), max_tokens, temperature, top_p, n, stream, stream_options, stop, seed, logprobs
and echo. With echo and logprobs the log-probabilities of the prompt are given, too, by which
evaluation harnesses score texts. Other fields that OpenAI knows and that would change the text are
refused; unknown ones are ignored.

Requests are batched: all running sequences get their next token in one step of the model, and join
or leave between two. A prompt is read in pieces, of about --prompt-tokens tokens in all between two
tokens of the others. The same request with the same seed gives the same text whatever else is running, as long as the logits
are the same bits. They are in f32 on a CPU with --max-batch=8 or less, except for models with an
adaptive softmax or with block-diagonal weights (griffin); in larger batches, in other precisions and
on a GPU they may differ by rounding. A request with a seed draws as generate does, its choice i with
the seed plus i; generate reads its prompt token by token, so that rounding may differ there, too.

Tokens are bytes, subwords or words, so max_tokens counts these. Answers are UTF-8: bytes of a character that
is not complete yet are held back in a stream, and U+FFFD stands for bytes that are no UTF-8. A token
that is none by itself is called "bytes:\xHH" in logprobs.

Each request is a line on stderr. A client that leaves frees its place at the next token. SIGTERM
and SIGINT let running requests end for --grace seconds; then the program ends with exit code 0, or
3 if it had to cut some.

By default only this machine can connect. There is no password and no encryption: put a proxy that
has both in front of it before you give --host an address that others reach.)";

void add_server_flags(Flags& flags, Options& options) {
  flags.add("--host", options.server.host, "Address to listen on.").show_default();
  flags.add("--port", options.server.port, "Port to listen on; 0: a free one, which is printed.")
      .range(0, 65535)
      .show_default();
  flags.add("--name", options.server.model, "Name of the model in answers [its folder and file].");
  flags.add("--max-batch", options.batcher.max_batch, "Sequences that run at a time.")
      .range(1, 4096)
      .show_default();
  flags
      .add(
          "--queue", options.batcher.queue,
          "Sequences that may wait for a place, and the most that one request may ask for; further requests are "
          "refused with 429.")
      .range(1, 4096)
      .show_default();
  flags
      .add("--prompt-tokens", options.batcher.prompt_tokens,
           "Tokens of prompts that are read between two tokens of running sequences, about.")
      .positive()
      .show_default();
  flags.add("--max-tokens", options.server.limits.max_tokens, "Largest max_tokens of a request.")
      .positive()
      .show_default();
  flags.add("--max-prompt", options.server.limits.prompt_bytes, "Longest prompt in bytes.")
      .positive()
      .show_default();
  flags.add("--max-body", options.server.max_body, "Longest body of a request in bytes.")
      .range(1, 16 << 20)
      .show_default();
  flags.add("--grace", options.grace, "Seconds that running requests get to end in after a signal.")
      .non_negative()
      .show_default();
}

}  // namespace

int serve_main(int argc, char** argv) {
  Flags flags(program_name(argv), "Serves a model over HTTP, by OpenAI's API for completions.", kManual);
  Options options;
  add_model_flags(flags, options.model, "--checkpoint,checkpoint");
  add_server_flags(flags, options);
  add_verify_flag(flags);
  return run_main(flags, argc, argv, [&options] { run(options); });
}

}  // namespace tandem
