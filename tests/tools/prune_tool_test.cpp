// Tests of the program prune: files, table, fine-tuning, resuming, and messages.
#include <fmt/format.h>

#include <filesystem>

#include "tandem/models/training/model_file.h"
#include "tests/support/compression_run.h"
#include "tests/support/errors.h"
#include "tests/support/run_tool.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

ToolRun prune_tool(std::vector<std::string> arguments) {
  return run_tool("prune", arguments);
}

int64_t zeros_in_matrices(const std::string& path, int64_t* all = nullptr) {
  int64_t count = 0;
  for (const NamedTensor& parameter : load_checkpoint(path).parameters) {
    if (!is_compressed(parameter)) continue;
    for (const float x : parameter.value.span<float>()) count += x == 0;
    if (all) *all += parameter.value.numel();
  }
  return count;
}

std::string file_of(const fs::path& out, int percent) {
  return (out / ("sparsity-" + std::to_string(percent) + ".safetensors")).string();
}

TEST_CASE(
    "prune: each sparsity gives a file with that many zeros, which evaluate reads and the table scores") {
  const TempDir folder;
  const std::string model = write_small_run(folder);
  for (const std::string scope : {"layer", "global"}) {
    const fs::path out = folder / scope;
    const ToolRun run = prune_tool(
        {model, "--out=" + out.string(), "--sparsity=30,75", "--scope=" + scope, "--batch-size=1"});
    CAPTURE(run.err);
    REQUIRE(run.exit_code == 0);
    for (const int percent : {30, 75}) {
      int64_t all = 0;
      const int64_t count = zeros_in_matrices(file_of(out, percent), &all);
      CHECK(std::abs(static_cast<double>(count) - percent / 100.0 * static_cast<double>(all)) <= 4);
      const ToolRun scored = run_tool("evaluate", {"--checkpoint=" + file_of(out, percent),
                                                   "--corpus=" + (folder / "text").string(), "--split=dev"});
      CHECK(contains(scored.out, fmt::format("{} % pruned; ", percent)));
      const size_t at = scored.out.find("bpc: ");
      REQUIRE(at != std::string::npos);
      const double bpc = std::stod(scored.out.substr(at + 5));
      CHECK(contains(run.out, fmt::format("{:.4f}\n", bpc)));
      CHECK(contains(run.out, fmt::format("{} % pruned", percent)));
    }
    CHECK(fs::file_size(file_of(out, 75)) < fs::file_size(file_of(out, 30)));
    CHECK(fs::file_size(file_of(out, 30)) < fs::file_size(model));
  }
}

TEST_CASE(
    "prune: fine-tuning keeps the zeros; the same command resumes after the last sparsity that is done") {
  const TempDir folder;
  const std::string model = write_small_run(folder);
  const auto command = [&model](const fs::path& out, const std::string& sparsity) {
    return std::vector<std::string>{model,
                                    "--out=" + out.string(),
                                    "--sparsity=" + sparsity,
                                    "--finetune-steps=6",
                                    "--precision=f32",
                                    "--lr=1e-3"};
  };
  const fs::path whole = folder / "whole", parts = folder / "parts";
  const ToolRun run = prune_tool(command(whole, "40,80"));
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  CHECK(contains(run.out, "step 6/6"));
  CHECK_FALSE(fs::exists(whole / "fine-tuning-40"));
  int64_t all = 0;
  const auto zeros = static_cast<double>(zeros_in_matrices(file_of(whole, 80), &all));
  CHECK(zeros == doctest::Approx(0.8 * static_cast<double>(all)).epsilon(0.01));
  const auto embedding = [](const std::string& path) {
    return load_checkpoint(path).parameters.back().value.to_vector<float>();
  };
  CHECK(embedding(file_of(whole, 80)) != embedding(file_of(whole, 40)));

  REQUIRE(prune_tool(command(parts, "40")).exit_code == 0);
  const auto first = fs::last_write_time(file_of(parts, 40));
  const ToolRun rest = prune_tool(command(parts, "40,80"));
  CHECK(rest.exit_code == 0);
  CHECK(fs::last_write_time(file_of(parts, 40)) == first);  // not made again
  CHECK(read_text(file_of(parts, 80)) == read_text(file_of(whole, 80)));
  const auto table = [](const std::string& out) { return out.substr(out.rfind("weights  ")); };
  CHECK(table(rest.out) == table(run.out));

  const ToolRun other = prune_tool({model, "--out=" + parts.string(), "--sparsity=40,80",
                                    "--finetune-steps=7", "--precision=f32", "--lr=1e-3"});
  CHECK(other.exit_code == 1);
  CHECK(contains(other.err, "holds a pruning with finetune_steps 6, not 7; give another --out"));
  const ToolRun order = prune_tool(command(parts, "20,80"));
  CHECK(order.exit_code == 1);
  CHECK(contains(order.err, "\"40 % pruned\" was done where \"20 % pruned\" is asked for"));
}

TEST_CASE("prune: another checkpoint under the same path is not taken for the one that was begun with") {
  const TempDir folder;
  const std::string model = write_small_run(folder), out = "--out=" + (folder / "p").string();
  REQUIRE(prune_tool({model, out, "--sparsity=40"}).exit_code == 0);
  Checkpoint other = load_checkpoint(model);
  other.parameters[0].value.span<float>()[0] += 1;
  save_checkpoint(model, other);
  const ToolRun run = prune_tool({model, out, "--sparsity=40,80"});
  CHECK(run.exit_code == 1);
  CHECK(contains(run.err, "holds a pruning with sha256 "));
}

TEST_CASE("prune, quantize: weights whose losses are not finite have no score") {
  const TempDir folder;
  const std::string model = write_small_run(folder);
  Checkpoint diverged = load_checkpoint(model);
  for (const NamedTensor& parameter : diverged.parameters)
    for (float& x : parameter.value.span<float>()) x = x < 0 ? -3e38f : 3e38f;
  save_checkpoint(model, diverged);
  for (const char* tool : {"prune", "quantize"}) {
    const ToolRun run = run_tool(tool, {model, "--out=" + (folder / tool).string()});
    CHECK(run.exit_code == 1);
    CHECK(contains(run.err, "the losses are not finite"));
    CHECK(!contains(run.out, "nan"));
  }
}

TEST_CASE("prune: wrong usage and impossible requests are refused with a message") {
  const TempDir folder;
  const std::string model = write_small_run(folder), out = "--out=" + (folder / "p").string();
  const auto ends = [](int code, const std::vector<std::string>& arguments, const std::string& message) {
    const ToolRun run = prune_tool(arguments);
    CHECK(run.exit_code == code);
    CHECK(run.err.starts_with("error: "));
    CHECK(contains(run.err, message));
  };
  ends(2, {model}, "--out");
  ends(2, {model, out, "--sparsity=50,30"}, "--sparsity: 30 is not above 50 and below 100");
  ends(2, {model, out, "--sparsity=100"}, "100 is not above 0");
  ends(2, {model, out, "--sparsity=33.33333,33.333334"}, "33.333334 differs too little from 33.33333");
  ends(2, {model, out, "--sparsity=99.99999"}, "99.99999 differs too little from 100");
  ends(2, {model, out, "--scope=all"}, "--scope");
  ends(1, {(folder / "none").string(), out}, (folder / "none").string());
  const std::string first = "--sparsity=50";
  REQUIRE(prune_tool({model, out, first}).exit_code == 0);
  const std::string half = file_of(folder / "p", 50), again = "--out=" + (folder / "again").string();
  ends(1, {half, again, "--sparsity=30"}, "50 % of the weights are pruned already; --sparsity begins at 30");
  write_text(folder / "other", std::string(3000, 'a') + "bcdef");
  ends(1, {model, again, first, "--finetune-steps=2", "--corpus=" + (folder / "other").string()}, "sha256");
}

}  // namespace
}  // namespace tandem::testing
