// Tests of the program generate: its output, flags, exit codes and messages.
#include "tandem/models/registry.h"
#include "tandem/models/training/model_file.h"
#include "tandem/models/training/sampling.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/paths.h"
#include "tests/support/run_tool.h"

namespace tandem::testing {
namespace {

const std::string kWeights = "--checkpoint=" + golden_path("srupp/weights.safetensors");

ToolRun generate_tool(std::vector<std::string> arguments, const std::string& input = "") {
  arguments.insert(arguments.begin(), {kWeights, "--window=32"});
  return run_tool("generate", arguments, input);
}

std::string generated(std::vector<std::string> arguments, const std::string& input = "") {
  const ToolRun run = generate_tool(arguments, input);
  CAPTURE(run.err);
  CHECK(run.exit_code == 0);
  return run.out;
}

TEST_CASE("generate: writes the prompt and the bytes that the library draws, and nothing else") {
  const LoadedModel loaded = load_model_file(golden_path("srupp/weights.safetensors"));
  const std::string prompt = "It's a \"word\", n. ";
  const auto library = [&](const SamplingOptions& options) {
    return prompt + generate_text(*loaded.model, loaded.vocabulary, prompt, 60, options, {.memory = 32});
  };
  const std::vector<std::string> common = {"--prompt=" + prompt, "--bytes=60"};
  const auto with = [&common](std::vector<std::string> more) {
    more.insert(more.begin(), common.begin(), common.end());
    return generated(more);
  };
  CHECK(with({}) == library({}));
  CHECK(with({"--seed=9"}) == library({.seed = 9}));
  CHECK(with({"--temperature=0"}) == library({.temperature = 0}));
  CHECK(with({"--temperature=0.7", "--top-k=5", "--top-p=0.8", "--seed=2"}) ==
        library({.temperature = 0.7, .top_k = 5, .top_p = 0.8, .seed = 2}));
  CHECK(with({"--seed=9"}) != with({"--seed=10"}));
}

TEST_CASE("generate: prompts from the standard input, and none") {
  CHECK(generated({"--prompt=-", "--bytes=30"}, "two\nlines\n") ==
        generated({"--prompt=two\nlines\n", "--bytes=30"}));
  const std::string none = generated({"--bytes=30"});
  CHECK(none.size() == 30);
  CHECK("\n" + none == generated({"--prompt=\n", "--bytes=30"}));
  CHECK(generated({"--prompt=-", "--bytes=30"}, "") == none);
  CHECK(generated({"--prompt=only this", "--bytes=0"}) == "only this");
  CHECK(generated({"--prompt=one", "--bytes=1"}).size() == 4);
  CHECK(generated({}).size() == 400);
}

TEST_CASE("generate: prints the device, the model and the speed on stderr") {
  const ToolRun run = generate_tool({"--prompt=abc", "--bytes=20"});
  CHECK(run.exit_code == 0);
  CHECK(run.err.starts_with("device: cpu, "));
  CHECK(contains(run.err, "model: the authors' SRU++ weights; 32,"));
  CHECK(contains(run.err, "prompt: 3 bytes in "));
  CHECK(contains(run.err, "generated: 20 bytes in "));
  CHECK(contains(run.err, " bytes/s\n"));
}

TEST_CASE("generate: precision and window are used") {
  const auto greedy = [](const std::string& option) {
    return generated({"--prompt=The ", "--bytes=50", "--temperature=0", option});
  };
  CHECK(greedy("--precision=f64") == greedy("--precision=f32"));
  const auto sampled = [](const std::string& window) {
    return run_tool("generate", {kWeights, window, "--prompt=The ", "--bytes=200"}).out;
  };
  CHECK(sampled("--window=2") != sampled("--window=100"));
}

TEST_CASE("generate: wrong usage exits with 2, failure with 1") {
  const auto ends = [](int exit_code, const std::vector<std::string>& arguments, const std::string& message) {
    CAPTURE(message);
    const ToolRun run = generate_tool(arguments);
    CHECK(run.exit_code == exit_code);
    CHECK(run.out.empty());
    CHECK(run.err.starts_with("error: "));
    CHECK(contains(run.err, message));
    CHECK((run.err.find("`generate --help`") != std::string::npos) == (exit_code == 2));
  };
  ends(2, {"--temperature=-1"}, "--temperature");
  ends(2, {"--temperature=nan"}, "temperature");
  ends(2, {"--top-k=-1"}, "--top-k");
  ends(2, {"--top-p=0"}, "top_p is 0");
  ends(2, {"--top-p=1.01"}, "top_p is 1.01");
  ends(2, {"--bytes=-5"}, "--bytes");
  ends(2, {"--bytes=many"}, "--bytes");
  ends(2, {"--promt=x"}, "--promt");
  ends(2, {"stray"}, "stray");
  ends(1, {"--prompt=ab\x01"}, "prompt: vocabulary: byte 0x01 at offset 2");
  ends(1, {"--heads=3"}, "heads must divide d'");

  const ToolRun no_window = run_tool("generate", {kWeights});
  CHECK(no_window.exit_code == 2);
  CHECK(contains(no_window.err, "give --window=N"));
  const ToolRun no_model = run_tool("generate", {"--window=3"});
  CHECK(no_model.exit_code == 2);
  CHECK(contains(no_model.err, "--checkpoint"));
  CHECK(run_tool("generate", {"--help"}).exit_code == 0);
}

TEST_CASE("generate: an output that cannot be written is an error") {
  const std::string command = shell_quoted(testing::tool_dir() + "/generate") + " " + shell_quoted(kWeights) +
                              " --window=4 --prompt=abc >/dev/full 2>/dev/null";
  const int status = std::system(command.c_str());
  CHECK(WEXITSTATUS(status) == 1);
}

}  // namespace
}  // namespace tandem::testing
