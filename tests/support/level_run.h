// A small run on a text of sentences, the same at every level but bytes, and the programs that go on with it.
#pragma once
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/support/run_tool.h"

namespace tandem::testing {

// Runs a program that must succeed, with the data folder of a test.
inline ToolRun tool(const std::string& name, const TempDir& folder, std::vector<std::string> arguments) {
  if (name != "generate") arguments.push_back("--data-dir=" + (folder / "data").string());
  const ToolRun run = run_tool(name, arguments);
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  return run;
}

// Trains on text.txt, into the folder `out`, 150 steps with evaluations after 50, 100 and 150. `level` are the flags by
// which levels differ, and `more` come last.
inline ToolRun train(const TempDir& folder, const std::string& out, const std::vector<std::string>& level,
                     const std::vector<std::string>& more = {}) {
  std::vector<std::string> all = {(folder / "text.txt").string(),
                                  "--out=" + (folder / out).string(),
                                  "--d=32",
                                  "--d-projected=8",
                                  "--layers=2",
                                  "--dropout=0",
                                  "--precision=f32",
                                  "--batch-size=8",
                                  "--unroll=16",
                                  "--eval-window=16",
                                  "--lr=2e-2",
                                  "--warmup=10",
                                  "--steps=150",
                                  "--eval-every=50",
                                  "--sample-tokens=12"};
  all.insert(all.end(), level.begin(), level.end());
  all.insert(all.end(), more.begin(), more.end());
  return tool("train", folder, all);
}

}  // namespace tandem::testing
