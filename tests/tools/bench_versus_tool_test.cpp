// `bench vs-pytorch`: child processes, the table, what must agree, and Tandem against itself.
#include "tools/bench/versus.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/run_tool.h"
#include "tools/bench/child_process.h"
#include "tools/bench/timing.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

const std::vector<std::string> kSmall = {
    "--d=16",     "--d-projected=8", "--unroll=8", "--batch-size=2", "--vocabulary=9", "--window=12",
    "--rounds=2", "--steps=2",       "--bytes=3",  "--segments=2",   "--precision=f32"};

ToolRun compare(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "vs-pytorch");
  arguments.insert(arguments.end(), kSmall.begin(), kSmall.end());
  return run_tool("bench", arguments);
}

// Writes a stand-in for Python that runs no script and answers every task with this line.
std::string fake_python(const TempDir& folder, const std::string& line) {
  const std::string path = (folder / "python").string();
  write_text(path,
             "#!/bin/sh\ncase \"$*\" in *--tune*) echo '{\"options\": [], \"tried_ms\": {}}';; *) echo '" +
                 line + "';; esac\n");
  REQUIRE(::chmod(path.c_str(), 0700) == 0);
  return path;
}

}  // namespace

TEST_CASE("bench vs-pytorch: ratios are formed round by round") {
  const std::string row = comparison_row({"speed", {10, 20, 30}, {5, 20, 10}});
  CHECK(contains(row, "| speed | 20.0 (10.0 .. 30.0) | 10.0 (5.00 .. 20.0) | 2.000 (1.000 .. 3.000) |"));
  CHECK(contains(comparison_row({"speed", {12345.6}, {1}}), "12,346"));
  CHECK(contains(error_of([] {
                   comparison_row({"speed", {1, 2}, {1}});
                 }),
                 "2 rounds of one side, 1 of the other"));
}

TEST_CASE("bench vs-pytorch: agreement is relative, and nothing agrees with NaN") {
  CHECK(contains(error_of([] { check_agreement("loss", 4.0005, 4, 1e-4); }),
                 "loss: 4.0005 of Tandem and 4 of"));
  CHECK(contains(error_of([] { check_agreement("loss", NAN, 4, 1e-4); }), "apart"));
  CHECK(contains(error_of([] { check_agreement("loss", 4, NAN, 1e-4); }), "apart"));
  CHECK(error_of([] { check_agreement("loss", 4.0003, 4, 1e-4); }) == "no error");
}

TEST_CASE("run_child: gives the lines, the time of the first one, and the peak memory") {
  ChildRun run;
  const double all_ms = time_ms([&run] {
    run = run_child({"sh", "-c", "sleep 0.2; echo one; sleep 1; echo two; printf rest"});
  });
  CHECK(run.lines == std::vector<std::string>{"one", "two"});
  CHECK(run.first_line_s >= 0.2);
  CHECK(run.first_line_s <= all_ms / 1e3 - 0.5);
  const ChildRun large = run_child({"sh", "-c", "head -c 300000000 /dev/zero | tail -c 300000000 | wc -c"});
  CHECK(large.peak_bytes >= 300'000'000);
  CHECK(run.peak_bytes < large.peak_bytes);
}

TEST_CASE("run_child: the error of a failing child has its stderr") {
  const std::string failed = error_of([] { run_child({"sh", "-c", "echo it broke >&2; exit 3"}); });
  CHECK(contains(failed, "ended with exit code 3"));
  CHECK(contains(failed, "it broke"));
  CHECK(contains(error_of([] { run_child({"sh", "-c", "kill -9 $$"}); }), "ended by signal 9"));
  CHECK(contains(error_of([] { run_child({"no-such-program"}); }), "no-such-program: No such file"));
}

TEST_CASE("bench vs-pytorch: Tandem against itself measures every quantity and has the same losses") {
  const TempDir folder;
  const std::string file = (folder / "all.json").string();
  const ToolRun run = compare({"--with=tandem", "--generate-batches=1,3", "--json=" + file});
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  CHECK(contains(run.out, "T 8, M 8, B 2, d 16, d' 8"));
  const nlohmann::json quantities = nlohmann::json::parse(read_text(file)).at(0).at("quantities");
  CHECK(quantities.size() == 6);
  for (const auto& quantity : quantities.items()) {
    const std::string& name = quantity.key();
    const nlohmann::json& values = quantity.value();
    CAPTURE(name);
    CHECK(contains(run.out, "| " + name + " | "));
    for (const char* side : {"ours", "theirs"}) {
      CHECK(values.at(side).size() == 2);
      for (const double value : values.at(side)) CHECK(value > 0);
    }
  }
  // The printed losses are equal in every digit.
  const size_t at = run.out.find("loss of the first step ");
  REQUIRE(at != std::string::npos);
  CHECK(run.out.substr(at + 23, 8) == run.out.substr(at + 36, 8));
}

TEST_CASE("bench vs-pytorch: sides that do not agree are not compared") {
  const TempDir folder;
  const std::string python = fake_python(
      folder,
      R"({"losses": [4.5, 4.5, 4.5, 4.5, 4.5], "ms": [1, 1], "nats": 4.5, "nats_1": 4.5, "ms_1": [1]})");
  for (const char* task : {"train", "generate", "evaluate"}) {
    const ToolRun run = compare(
        {"--with=pytorch", "--python=" + python, std::string("--tasks=") + task, "--generate-batches=1"});
    CAPTURE(run.out);
    CHECK(run.exit_code == 1);
    CHECK(contains(run.err, std::string(task) + " f32: "));
    CHECK(contains(run.err, "of the other are"));
    CHECK(run.out.find("| ratio |") == std::string::npos);
  }
  const ToolRun silent =
      compare({"--with=pytorch", "--python=" + fake_python(folder, "{}"), "--tasks=evaluate"});
  CHECK(contains(silent.err, "did not print nats"));
  CHECK(contains(compare({"--with=pytorch", "--python=no-such-python"}).err, "no-such-python: No such file"));
  CHECK(compare({"--with=everything"}).exit_code == 2);
  CHECK(contains(run_tool("bench", {"compare", "--help"}).out, "bench vs-pytorch"));  // the former name
}
