// train on several processes, started by mpirun as a user would: the same files on any number of them, also after faults.
// Machines without mpirun skip what needs it. On GPUs: gpu_ranks_tool_test.cpp. More faults, at random: tests/faults, kinds
// rank-*.
#include <doctest/doctest.h>

#include "tests/support/errors.h"
#include "tests/support/rank_processes.h"
#include "tests/support/run_tool.h"

using namespace tandem::testing;
namespace fs = std::filesystem;

namespace {

std::vector<std::string> run_on_cpu(const fs::path& text, const std::string& out,
                                    std::vector<std::string> more = {}) {
  more.insert(more.begin(), "--device=cpu");
  return sharded_run(text, out, more);
}

// Runs mpirun with these arguments in the folder, which must fail. Returns what it has printed.
std::string failing_mpirun(const TempDir& folder, const std::string& arguments) {
  const ProcessResult result = run_mpirun(folder, arguments);
  CHECK(result.code != 0);
  return result.output;
}

}  // namespace

TEST_CASE("ranks: 1, 2, 3 and 4 processes leave the same files as one without a launcher") {
  if (!has_mpirun()) return;
  const TempDir folder;
  const fs::path text = write_sample(folder);
  const ProcessResult alone = run(folder, run_on_cpu(text, "alone"));
  CAPTURE(alone.output);
  REQUIRE(alone.code == 0);
  CHECK(contains(alone.output, "ranks: 1, 4 shards"));
  for (const int ranks : {1, 2, 3, 4}) {
    CAPTURE(ranks);
    const std::string out = "ranks" + std::to_string(ranks);
    const ProcessResult several = run(folder, run_on_cpu(text, out, {"--ranks=" + std::to_string(ranks)}));
    CAPTURE(several.output);
    CHECK(several.code == 0);
    check_same_files(folder / "alone", folder / out);
    if (ranks == 1) continue;
    CHECK(contains(several.output, "ranks: " + std::to_string(ranks) + " on 1 host"));
    CHECK(contains(several.output, " MB by rank"));
    CHECK(contains(several.output, "  exchange "));
    CHECK(several.output.find('\r') == several.output.find("\r\n"));  // no live line on mpirun's terminal
  }
}

TEST_CASE(
    "ranks: a run goes on on other numbers of ranks as if it had never stopped; any rank may be asked to stop") {
  if (!has_mpirun()) return;
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, small_run(text, "whole", {"--shards=4", "--device=cpu"})).code == 0);
  const Process started =
      start(folder, small_run(text, "parts", {"--shards=4", "--device=cpu", "--ranks=4"}));
  wait_for_ranks(started);
  send_to_rank(started, 2, SIGUSR1);
  CHECK(started.wait() == 3);
  CHECK(contains(read_text(started.output), "stopped by signal 10"));
  const auto go_on = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {text.string(), "--resume=parts", "--device=cpu", "--sample-bytes=30"});
    return more;
  };
  const Process second = start(folder, go_on({"--ranks=3"}));
  wait_for_ranks(second);
  kill(second.pid, SIGTERM);  // of the program that the user started
  CHECK(second.wait() == 3);
  CHECK(run(folder, go_on({"--ranks=2", "--max-steps=110"})).code == 0);
  const ProcessResult last = run(folder, go_on({}));
  CAPTURE(last.output);
  CHECK(last.code == 0);
  check_same_files(folder / "whole", folder / "parts");
}

TEST_CASE("ranks: one that is killed or stopped ends all, and the last checkpoint goes on") {
  if (!has_mpirun()) return;
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, run_on_cpu(text, "whole", {"--steps=400"})).code == 0);
  for (const auto& fault : {std::pair{SIGKILL, 0}, {SIGKILL, 1}, {SIGSTOP, 1}}) {
    CAPTURE(fault.first);
    CAPTURE(fault.second);
    const std::string out = "faulty" + std::to_string(fault.first) + std::to_string(fault.second);
    const Process started =
        start(folder, run_on_cpu(text, out, {"--steps=400", "--ranks=2", "--timeout=10s"}));
    wait_for_ranks(started);
    send_to_rank(started, fault.second, fault.first);
    CHECK(started.wait() == 1);
    const std::string output = read_text(started.output);
    CAPTURE(output);
    if (fault.first == SIGSTOP)
      CHECK(contains(output, "has waited 10 s for rank 1 ("));
    else
      CHECK(contains(output, "killed by signal 9; checkpoints that were written are whole"));
    const bool saved = fs::exists(folder / out / "last.safetensors");
    const ProcessResult rest =
        saved ? run(folder, {text.string(), "--resume=" + out, "--device=cpu", "--sample-bytes=30"})
              : run(folder, run_on_cpu(text, out, {"--steps=400"}));
    CAPTURE(rest.output);
    CHECK(rest.code == 0);
    check_same_files(folder / "whole", folder / out);
  }
}

TEST_CASE("ranks: --max-restarts goes on with the ranks that are left") {
  if (!has_mpirun()) return;
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, run_on_cpu(text, "whole", {"--steps=400"})).code == 0);
  std::vector<std::string> arguments = small_run(text, "elastic", {"--steps=400", "--device=cpu"});
  arguments.insert(arguments.end(),
                   {"--ranks=4", "--max-restarts", "1"});  // the number of shards is that of ranks
  const Process started = start(folder, arguments);
  wait_for_ranks(started);
  send_to_rank(started, 3, SIGKILL);
  const int code = started.wait();
  const std::string output = read_text(started.output);
  CAPTURE(output);
  CHECK(code == 0);
  CHECK(contains(output, "restart 1 of 1: a rank has failed (exit code 137); 3 of 4 go on from "));
  check_same_files(folder / "whole", folder / "elastic");
}

TEST_CASE("ranks: what does not fit together is refused before the first step") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  const auto refusal = [&](const std::vector<std::string>& more) {
    const ProcessResult result = run(folder, small_run(text, "refused", more));
    CHECK(result.code != 0);
    return result.output;
  };
  CHECK(contains(refusal({"--shards=3"}), "3 shards cannot share 4 rows evenly; use 2 or 4 shards"));
  CHECK(contains(refusal({"--ranks=2", "--reduce=slow"}), "--reduce"));
  CHECK(contains(refusal({"--timeout=soon"}), "--timeout: soon is not a time"));
  CHECK(contains(refusal({"--max-restarts=1"}),
                 "--max-restarts: it starts ranks again that --ranks has started"));
  if (!has_mpirun()) return;
  CHECK(contains(refusal({"--ranks=3", "--shards=2"}), "3 ranks cannot share 2 shards"));
  CHECK(!fs::exists(folder / "refused"));

  // Two ranks with another learning rate, and with another text.
  std::ofstream(folder / "other.txt") << read_text(text) << "more";
  const std::string train = tool_dir() + "/train",
                    common = " --batch-size=4 --unroll=16 --steps=5 --d=32 --device=cpu --out=";
  const auto pair = [&](const std::string& first, const std::string& second) {
    return failing_mpirun(folder, "-np 1 " + train + " " + first + common + "pair : -np 1 " + train + " " +
                                      second + common + "pair");
  };
  CHECK(contains(pair("text.txt --lr=1e-3", "text.txt --lr=2e-3"), ") differ in the configuration: "));
  CHECK(contains(pair("text.txt", "other.txt"), ") differ in the corpus (its sha256): "));
  CHECK(contains(pair("text.txt --ranks=2", "text.txt"),
                 "--ranks: a launcher has started this process as a rank"));
}

TEST_CASE(
    "ranks: processes that another MPI library's launcher has started are refused, lest each be a run of its own") {
  if (!has_mpirun()) return;
  const TempDir folder;
  const fs::path text = write_sample(folder);
  setenv("PMI_RANK", "0", 1);  // as MPICH's mpirun sets them
  setenv("PMI_SIZE", "2", 1);
  const ProcessResult result = run(folder, run_on_cpu(text, "refused"));
  unsetenv("PMI_RANK");
  unsetenv("PMI_SIZE");
  CHECK(result.code == 1);
  CHECK(contains(result.output, "the launcher has started 2 ranks, but MPI has connected 1"));
  CHECK(!fs::exists(folder / "refused"));
}

TEST_CASE("ranks: one that never joins the others is waited for no longer than --timeout") {
  if (!has_mpirun()) return;
  const TempDir folder;
  write_sample(folder);
  const auto start = std::chrono::steady_clock::now();
  const std::string output = failing_mpirun(
      folder, "-np 1 " + tool_dir() + "/train text.txt --out=alone --timeout=2s : -np 1 sleep 300");
  CAPTURE(output);
  CHECK(contains(output, "rank 0 has waited 2 s for the others in MPI_Init at the start"));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(60));
}

TEST_CASE(
    "bench exchange: sums are checked and timed, exactly and fast, and one rank has nothing to exchange") {
  CHECK(contains(run_tool("bench", {"exchange"}).err,
                 "there is one rank, which exchanges nothing; give --ranks=2"));
  if (!has_mpirun()) return;
  const ToolRun several = run_tool("bench", {"exchange", "--ranks=3", "--megabytes=0.001,1", "--rounds=2"});
  CAPTURE(several.out);
  CAPTURE(several.err);
  CHECK(several.exit_code == 0);
  CHECK(contains(several.out, "ranks: 3 on 1 host"));
  CHECK(contains(several.out, "     1 MB  1.333 MB     exact"));
  CHECK(contains(several.out, "     1 MB  1.333 MB      fast"));
}
