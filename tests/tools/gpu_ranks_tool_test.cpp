// train on several processes, each with a simulated GPU: gradients go from GPU to GPU over the stand-in for NCCL, to the same
// files as those of one process. Other builds, and machines without mpirun, skip this.
#include <doctest/doctest.h>

#include <cstdlib>
#include <initializer_list>
#include <optional>

#include "tandem/core/backend.h"
#include "tests/support/errors.h"
#include "tests/support/rank_processes.h"
#include "tests/support/run_tool.h"

using namespace tandem::testing;
namespace fs = std::filesystem;

namespace {

bool can_run() {
  if (tandem::cuda_status().name == "simulated GPU") return has_mpirun();
  MESSAGE("skipped: ranks on GPUs are tested in builds with -DTANDEM_CUDA=SIMULATE");
  return false;
}

std::vector<std::string> run_on_gpu(const fs::path& text, const std::string& out,
                                    std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"--device=cuda", "--precision=f32", "--steps=12"});
  return sharded_run(text, out, more);
}

// Environment variables of the programs that are started, as long as it lives.
class Environment {
 public:
  Environment(std::initializer_list<std::pair<std::string, std::string>> variables) {
    for (const auto& [name, value] : variables) {
      const char* const old = std::getenv(name.c_str());
      before_.emplace_back(name, old ? std::optional<std::string>(old) : std::nullopt);
      setenv(name.c_str(), value.c_str(), 1);
    }
  }
  ~Environment() {
    for (const auto& [name, value] : before_)
      value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::vector<std::pair<std::string, std::optional<std::string>>> before_;
};

std::string shell_words(const std::vector<std::string>& arguments) {
  std::string words;
  for (const std::string& argument : arguments) words += " " + shell_quoted(argument);
  return words;
}

const std::string kByNccl = "GB/s a rank, by NCCL ";

}  // namespace

TEST_CASE("gpu ranks: 1, 2, 3 and 4 of them leave the same files, over NCCL and over the host") {
  if (!can_run()) return;
  const TempDir folder;
  const fs::path text = write_sample(folder);
  for (const std::string precision : {"f32", "bf16"}) {
    CAPTURE(precision);
    const auto train = [&](const std::string& out, std::vector<std::string> more) {
      more.push_back("--precision=" + precision);
      const ProcessResult result = run(folder, run_on_gpu(text, out, more));
      CAPTURE(result.output);
      CHECK(result.code == 0);
      return result.output;
    };
    const std::string alone = "alone" + precision;
    const std::string output = train(alone, {});
    CHECK(contains(output, "device: cuda:0, simulated GPU"));
    CHECK(output.find("NCCL") == std::string::npos);
    for (const std::string ranks : {"2", "3", "4"}) {
      if (precision == "bf16" && ranks != "3") continue;
      CAPTURE(ranks);
      const std::string out = "nccl" + ranks + precision;
      CHECK(contains(train(out, {"--ranks=" + ranks}), kByNccl));
      check_same_files(folder / alone, folder / out);
    }
    const Environment off{{"TANDEM_NCCL", "off"}};
    CHECK(contains(train("host" + precision, {"--ranks=3"}), "through the host's memory, since rank 0 ("));
    check_same_files(folder / alone, folder / ("host" + precision));
  }
}

TEST_CASE(
    "gpu ranks: late streams and steps in graphs change nothing, nor does a rank that cannot capture them") {
  if (!can_run()) return;
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, run_on_gpu(text, "alone", {"--eager"})).code == 0);
  const std::string refused = "steps run operator by operator, not as a CUDA graph";
  for (const std::string streams : {"first_ahead", "first_behind"}) {
    const Environment cached{{"TANDEM_ALLOCATOR", "cached"}, {"TANDEM_SIMULATOR_STREAMS", streams}};
    for (const std::string reduce : {"exact", "fast"}) {
      const std::string out = streams + reduce;
      const ProcessResult graphs = run(folder, run_on_gpu(text, out, {"--ranks=3", "--reduce=" + reduce}));
      CAPTURE(graphs.output);
      CHECK(graphs.code == 0);
      CHECK(contains(graphs.output, kByNccl));
      CHECK(graphs.output.find(refused) == std::string::npos);
      if (reduce == "exact") check_same_files(folder / "alone", folder / out);
    }
  }
  // Memory that is given back at once forbids graphs.
  for (const int refusing : {0, 1}) {
    CAPTURE(refusing);
    const std::string out = "mixed" + std::to_string(refusing);
    const auto rank = [&](int number) {
      return std::string("-np 1 env TANDEM_ALLOCATOR=") + (number == refusing ? "direct " : "cached ") +
             tool_dir() + "/train" + shell_words(run_on_gpu(text, out));
    };
    const ProcessResult mixed = run_mpirun(folder, rank(0) + " : " + rank(1));
    CAPTURE(mixed.output);
    CHECK(mixed.code == 0);
    CHECK((mixed.output.find(refused) != std::string::npos) == (refusing == 0));
    check_same_files(folder / "alone", folder / out);
  }
}

TEST_CASE("gpu ranks: where one has no NCCL all go over the host, and the first line says whose is missing") {
  if (!can_run()) return;
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, run_on_gpu(text, "alone")).code == 0);
  const std::string train = tool_dir() + "/train" + shell_words(run_on_gpu(text, "mixed"));
  const ProcessResult mixed = run_mpirun(folder, "-np 1 " + train + " : -np 1 env TANDEM_NCCL=off " + train);
  CAPTURE(mixed.output);
  CHECK(mixed.code == 0);
  CHECK(contains(mixed.output, "through the host's memory, since rank 1 ("));
  CHECK(contains(mixed.output, "): TANDEM_NCCL is off"));
  check_same_files(folder / "alone", folder / "mixed");
}

TEST_CASE("gpu ranks: a run goes on on other numbers of them as if it had never stopped") {
  if (!can_run()) return;
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, run_on_gpu(text, "whole")).code == 0);
  REQUIRE(run(folder, run_on_gpu(text, "parts", {"--ranks=4", "--max-steps=4"})).code == 0);
  const auto go_on = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all{text.string(), "--resume=parts", "--device=cuda", "--sample-bytes=30"};
    all.insert(all.end(), more.begin(), more.end());
    const ProcessResult result = run(folder, all);
    CAPTURE(result.output);
    CHECK(result.code == 0);
  };
  go_on({"--ranks=3", "--max-steps=8"});
  go_on({"--ranks=2", "--max-steps=9"});
  go_on({});
  check_same_files(folder / "whole", folder / "parts");
}

TEST_CASE(
    "gpu ranks: one that is killed or stopped ends all with a message, and the last checkpoint goes on") {
  if (!can_run()) return;
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, run_on_gpu(text, "whole", {"--steps=60"})).code == 0);
  for (const int signal : {SIGKILL, SIGSTOP}) {
    CAPTURE(signal);
    const std::string out = "faulty" + std::to_string(signal);
    const Process started =
        start(folder, run_on_gpu(text, out, {"--steps=60", "--ranks=2", "--timeout=15s"}));
    wait_for_ranks(started);
    send_to_rank(started, 1, signal);
    CHECK(started.wait() == 1);
    const std::string output = read_text(started.output);
    CAPTURE(output);
    CHECK(contains(output, signal == SIGSTOP ? "has waited 15 s for " : "killed by signal 9"));
    if (!fs::exists(folder / out / "last.safetensors")) continue;
    const ProcessResult rest =
        run(folder, {text.string(), "--resume=" + out, "--device=cuda", "--sample-bytes=30", "--ranks=2"});
    CAPTURE(rest.output);
    CHECK(rest.code == 0);
    check_same_files(folder / "whole", folder / out);
  }
}

TEST_CASE("gpu ranks: bench exchange times sums on GPUs") {
  if (!can_run()) return;
  const ToolRun several =
      run_tool("bench", {"exchange", "--ranks=3", "--device=cuda", "--megabytes=0.001,0.1", "--rounds=2"});
  CAPTURE(several.out);
  CAPTURE(several.err);
  CHECK(several.exit_code == 0);
  CHECK(contains(several.out, kByNccl));
  CHECK(contains(several.out, "exact"));
  CHECK(contains(several.out, "fast"));
}
