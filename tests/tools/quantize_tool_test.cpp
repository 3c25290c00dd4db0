// Tests of the program quantize: its table, its files, their use by evaluate and generate, and messages.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tandem/models/training/model_file.h"
#include "tests/support/compression_run.h"
#include "tests/support/errors.h"
#include "tests/support/run_tool.h"

namespace tandem::testing {
namespace {

int64_t size_of_file(const std::filesystem::path& path) {
  return static_cast<int64_t>(std::filesystem::file_size(path));
}

double bpc_of(const std::string& file, const std::string& text, const std::string& precision) {
  const ToolRun run = run_tool("evaluate", {"--checkpoint=" + file, "--corpus=" + text, "--split=dev",
                                            "--precision=" + precision, "--json"});
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  return nlohmann::json::parse(run.out)["bpc"];
}

TEST_CASE("quantize: 8, 6 and 4 bits have the sizes and scores of the table, in files that evaluate reads") {
  const TempDir folder;
  const std::string model = write_small_run(folder), text = folder / "text", out = folder / "q";
  const ToolRun run = run_tool("quantize", {model, "--out=" + out, "--batch-size=1"});
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  CHECK(contains(run.out, "dev: 300 bytes in 1 columns"));

  int64_t matrices = 0, others = 0;
  for (const NamedTensor& parameter : load_checkpoint(model).parameters)
    (is_compressed(parameter) ? matrices : others) += parameter.value.numel();
  const double f32 = bpc_of(model, text, "f32");
  CHECK(contains(run.out, fmt::format("{:.3f}  100.0 % {:>9.4f}\n",
                                      4e-6 * static_cast<double>(matrices + others), f32)));
  for (const int bits : {8, 6, 4}) {
    const std::string file = out + "/" + std::to_string(bits) + "-bit.safetensors";
    const LoadedModel loaded = load_model_file(file);
    CHECK(loaded.kind == fmt::format("checkpoint of Tandem, {}-bit weights", bits));
    const double weights = static_cast<double>(
        matrices * bits / 8 + 8 * static_cast<int64_t>(loaded.quantized.size()) + 4 * others);
    const double bpc = bpc_of(file, text, "f32");
    CHECK(contains(run.out, fmt::format("{:.3f} {:>6.1f} % {:>9.4f}\n", weights / 1e6,
                                        25 * weights / static_cast<double>(matrices + others), bpc)));
    CHECK(bpc == doctest::Approx(f32).epsilon(bits == 4 ? 0.05 : 0.01));
    CHECK(bpc != f32);
    const double int8 = bpc_of(file, text, "int8");
    CHECK(int8 == doctest::Approx(bpc).epsilon(0.003));
    CHECK(int8 != bpc);
  }
  CHECK(size_of_file(out + "/4-bit.safetensors") < size_of_file(out + "/8-bit.safetensors"));
  CHECK(size_of_file(out + "/8-bit.safetensors") < size_of_file(model));

  const ToolRun generated =
      run_tool("generate", {"--checkpoint=" + out + "/8-bit.safetensors", "--precision=int8", "--bytes=30"});
  CHECK(generated.exit_code == 0);
  CHECK(generated.out.size() == 30);
  CHECK(contains(generated.err, "checkpoint of Tandem, 8-bit weights; "));
  CHECK(contains(generated.err, "int8, window 16"));
}

TEST_CASE("quantize, prune: only the text of the training run is scored, wherever it lies now") {
  const TempDir folder;
  const std::string model = write_small_run(folder), text = folder / "text", moved = folder / "moved";
  const auto run = [&](const std::string& tool, const std::string& corpus, const std::string& out) {
    return run_tool(tool, {model, "--corpus=" + corpus, "--out=" + (folder / out).string()});
  };
  const ToolRun there = run("quantize", text, "q1");
  std::string bytes = read_text(text);
  write_text(moved, bytes);
  const ToolRun here = run("quantize", moved, "q2");
  CHECK(here.exit_code == 0);
  CHECK(here.out.substr(here.out.find("weights")) == there.out.substr(there.out.find("weights")));
  for (char& byte : bytes)
    byte = static_cast<char>(byte + 1);  // scores the same if the text makes the vocabulary
  write_text(text, bytes);
  for (const char* tool : {"quantize", "prune"}) {
    const ToolRun refused = run(tool, text, "q3");
    CHECK(refused.exit_code == 1);
    CHECK((contains(refused.err, "the model was trained on") || contains(refused.err, "vocabulary")));
  }
}

TEST_CASE("quantize: pruned weights stay 0; the mask is kept where it pays") {
  const TempDir folder;
  const std::string path = write_small_run(folder), pruned = folder / "pruned.safetensors";
  Checkpoint checkpoint = load_checkpoint(path);
  checkpoint.masks = prune(checkpoint.parameters, 0.2, PruningScope::layer);
  save_checkpoint(pruned, checkpoint);
  const ToolRun run = run_tool("quantize", {"--bits=8,4", pruned, "--out=" + (folder / "q").string()});
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  for (const auto& [bits, mask] :
       {std::pair{8, true}, {4, false}}) {  // 20 % of 8 bits are more than one, of 4 less
    const Checkpoint read =
        load_checkpoint((folder / "q").string() + "/" + std::to_string(bits) + "-bit.safetensors");
    CHECK(read.masks.size() == (mask ? checkpoint.masks.size() : 0));
    for (const NamedTensor& was : checkpoint.masks)
      for (const NamedTensor& parameter : read.parameters) {
        if (parameter.name != was.name) continue;
        int64_t wrong = 0;
        for (int64_t i = 0; i < was.value.numel(); ++i)
          wrong += !was.value.data<uint8_t>()[i] && parameter.value.data<float>()[i] != 0;
        CHECK(wrong == 0);
      }
  }
}

TEST_CASE("quantize: wrong usage and impossible requests are refused with a message") {
  const TempDir folder;
  const std::string model = write_small_run(folder), out = "--out=" + (folder / "q").string();
  const auto ends = [](int code, const std::string& tool, const std::vector<std::string>& arguments,
                       const std::string& message) {
    const ToolRun run = run_tool(tool, arguments);
    CHECK(run.exit_code == code);
    CHECK(run.err.starts_with("error: "));
    CHECK(contains(run.err, message));
  };
  ends(2, "quantize", {model}, "--out");
  ends(2, "quantize", {model, out, "--bits=9"}, "--bits");
  ends(2, "quantize", {model, out, "--split=all"}, "--split");
  ends(1, "quantize", {(folder / "none").string(), out}, (folder / "none").string());
  ends(1, "quantize", {model, out, "--limit=1"}, "1 bytes in dev leave nothing to predict");
  REQUIRE(run_tool("quantize", {model, out, "--bits=8"}).exit_code == 0);
  const std::string eight = (folder / "q").string() + "/8-bit.safetensors";
  ends(1, "quantize", {eight, out}, "quantized already");
  ends(1, "prune", {eight, out}, "the weights are quantized; prune first, then quantize");
  ends(1, "generate", {"--checkpoint=" + model, "--precision=int8"},
       "the weights of " + model + " are not quantized");
}

}  // namespace
}  // namespace tandem::testing
