// train --teacher as a user runs it: a distilled run, resumed and of several ranks, its files, and what is refused.
#include <doctest/doctest.h>

#include "tests/support/errors.h"
#include "tests/support/run_tool.h"
#include "tests/support/train_process.h"

using namespace tandem;
using namespace tandem::testing;
namespace fs = std::filesystem;

namespace {

// Trains a teacher in the folder "teacher", and returns the text.
fs::path write_teacher(const TempDir& folder) {
  const fs::path text = write_sample(folder);
  const ProcessResult trained =
      run(folder, short_run(text, "teacher", {"--d=48", "--steps=14", "--no-test"}));
  CAPTURE(trained.output);
  REQUIRE(trained.code == 0);
  return text;
}

constexpr const char* kTeacher = "--teacher=teacher/best.safetensors";

}  // namespace

TEST_CASE("train: a distilled run that was stopped and resumed leaves the files of one that never stopped") {
  const TempDir folder;
  const fs::path text = write_teacher(folder);
  const ProcessResult whole = run(folder, short_run(text, "whole", {kTeacher, "--temperature=3"}));
  CAPTURE(whole.output);
  REQUIRE(whole.code == 0);
  for (const char* part : {"teacher: teacher/best.safetensors, ", " parameters, weight 0.5, temperature 3"})
    CHECK(contains(whole.output, part));
  REQUIRE(run(folder, short_run(text, "parts", {kTeacher, "--temperature=3", "--max-steps=10"})).code == 0);
  const ProcessResult rest = run(folder, {text.string(), "--resume=parts", "--sample-bytes=0"});
  CAPTURE(rest.output);
  CHECK(rest.code == 0);
  check_same_files(folder / "whole", folder / "parts");

  // The trained student no longer needs its teacher.
  REQUIRE(run(folder, short_run(text, "moved", {kTeacher, "--temperature=3", "--max-steps=10"})).code == 0);
  fs::rename(folder / "teacher", folder / "elsewhere");
  const std::string best = (folder / "whole/best.safetensors").string();
  CHECK(run_tool("generate", {"--checkpoint=" + best, "--bytes=10"}).exit_code == 0);
  CHECK(run_tool("evaluate", {"--checkpoint=" + best, "--corpus=" + text.string()}).exit_code == 0);
  const ToolRun pruned = run_tool(
      "prune", {best, "--out=" + (folder / "pruned").string(), "--sparsity=50", "--finetune-steps=2"});
  CAPTURE(pruned.err);
  CHECK(pruned.exit_code == 0);
  const ProcessResult lost = run(folder, {text.string(), "--resume=moved", "--sample-bytes=0"});
  CHECK(lost.code == 1);
  CHECK(contains(lost.output, "there is no file teacher/best.safetensors; give the path"));
  const ProcessResult other =
      run(folder, {text.string(), "--resume=moved", "--teacher=whole/best.safetensors", "--sample-bytes=0"});
  CHECK(other.code == 1);
  CHECK(contains(other.output, "the teacher has changed: whole/best.safetensors has the digest "));
  const ProcessResult found = run(
      folder, {text.string(), "--resume=moved", "--teacher=elsewhere/best.safetensors", "--sample-bytes=0"});
  CAPTURE(found.output);
  CHECK(found.code == 0);
  CHECK(losses(folder / "moved") == losses(folder / "whole"));
}

TEST_CASE("train: --distill-weight=0 is the run without a teacher, bit for bit") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, short_run(text, "plain")).code == 0);
  const ProcessResult none =
      run(folder, short_run(text, "none", {"--teacher=nowhere", "--distill-weight=0"}));
  CAPTURE(none.output);
  CHECK(none.code == 0);
  CHECK(contains(none.output, "note: --distill-weight=0: the run trains without the teacher"));
  check_same_files(folder / "plain", folder / "none");
}

TEST_CASE("train: a quantized teacher teaches, a file of --config keeps it, and its forward pass counts") {
  const TempDir folder;
  const fs::path text = write_teacher(folder);
  REQUIRE(run_tool("quantize", {(folder / "teacher/best.safetensors").string(), "--bits=4", "--batch-size=1",
                                "--out=" + (folder / "small").string()})
              .exit_code == 0);
  const std::string small = "--teacher=" + (folder / "small/4-bit.safetensors").string();
  const std::vector<std::string> more = {small, "--distill-weight=0.8", "--imitate-steps=4", "--steps=10",
                                         "--no-test"};
  REQUIRE(run(folder, short_run(text, "flags", more)).code == 0);
  std::vector<std::string> dump = short_run(text, "unused", more);
  dump.push_back("--dump-config");
  const ToolRun dumped = run_tool("train", dump);
  REQUIRE(dumped.exit_code == 0);
  write_text(folder / "config.toml", dumped.out);
  REQUIRE(run(folder, {"--config=config.toml", "--out=file", "--max-steps=5"}).code == 0);
  const ProcessResult rest = run(folder, {"--config=config.toml", "--resume=file"});
  CAPTURE(rest.output);
  CHECK(rest.code == 0);
  check_same_files(folder / "flags", folder / "file");

  const auto flops = [&text](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     {text.string(), "--d=32", "--d-projected=8", "--layers=2", "--describe"});
    const ToolRun described = run_tool("train", arguments);
    REQUIRE(described.exit_code == 0);
    return nlohmann::json::parse(described.out)["flops_per_step"].get<double>();
  };
  CHECK(flops({small}) > 1.3 * flops({}));
}

TEST_CASE("train: a teacher that cannot teach is refused before the run") {
  const TempDir folder;
  const fs::path text = write_teacher(folder);
  const auto refusal = [&folder](const std::vector<std::string>& arguments, int code) {
    const ProcessResult refused = run(folder, arguments);
    CAPTURE(refused.output);
    CHECK(refused.code == code);
    return refused.output;
  };
  CHECK(contains(refusal(short_run(text, "a", {"--teacher=nowhere"}), 1),
                 "--teacher: there is no file nowhere"));
  CHECK(contains(refusal(short_run(text, "b", {"--teacher=" + text.string()}), 1), "expected a checkpoint"));
  CHECK(contains(refusal(short_run(text, "c", {"--distill-weight=0.5"}), 2), "needs a teacher"));
  CHECK(contains(refusal(short_run(text, "d", {"--temperature=2"}), 2), "--temperature needs a teacher"));
  CHECK(contains(refusal(short_run(text, "e", {kTeacher, "--distill-weight=1.5"}), 2),
                 "1.5 is not from 0 to 1"));
  CHECK(contains(refusal(short_run(text, "f", {kTeacher, "--temperature=0"}), 2),
                 "0 is not a positive number"));
  CHECK(contains(refusal(short_run(text, "g", {kTeacher, "--temperature=nan"}), 2), "temperature"));

  std::string bytes = read_text(folder / "teacher/best.safetensors");
  bytes[bytes.size() - 5] ^= 1;
  write_text(folder / "teacher/bad", bytes);
  CHECK(contains(refusal(short_run(text, "h", {"--teacher=teacher/bad"}), 1), "digest is "));

  write_text(folder / "other.txt", read_text(text) + "A symbol more: 0");
  CHECK(
      contains(refusal(short_run(folder / "other.txt", "i", {kTeacher}), 1), "teacher: its vocabulary has "));

  REQUIRE(run(folder, short_run(text, "plain", {"--max-steps=3"})).code == 0);
  CHECK(contains(refusal({text.string(), "--resume=plain", kTeacher}, 2), "the run has no teacher"));
  CHECK(contains(refusal({text.string(), "--resume=plain", "--distill-weight=0.5"}, 2), "was settled"));
}
