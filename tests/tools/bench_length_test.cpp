// `bench length`: its points, the work that it divides by, growth, and the program.
#include "tools/bench/length.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/run_tool.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

const std::vector<std::string> kSmall = {"length", "--d=16", "--d-projected=8", "--rounds=1",
                                         "--precision=f32"};

ToolRun length(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), kSmall.begin(), kSmall.end());
  return run_tool("bench", arguments);
}

}  // namespace

TEST_CASE("bench length: growth is over any shorter length, not over the first one") {
  CHECK(growth({4, 2, 3}) == 1.5);
  CHECK(growth({4, 3, 2}) == 0.75);
  CHECK(growth({1, 3, 2}) == 3);
  CHECK(contains(error_of([] { growth({1}); }), "growth needs two"));
}

TEST_CASE("bench length: counts pairs, rows, operators and bytes of a step") {
  BenchSizes overrides;
  overrides.d = 16;
  overrides.d_projected = 8;
  overrides.batch_size = 2;
  const std::vector<LengthCost> costs =
      measure_lengths(bench_sizes("laptop-k1", overrides), MatmulPrecision::f32, {{8, 8}, {8, 40}}, 1);
  REQUIRE(costs.size() == 2);
  // Each of 8 queries sees the 8 tokens of the memory and 1 to 8 of its own segment; the batch has 2 rows.
  CHECK(costs[0].pairs == 2 * (64 + 36));
  CHECK(costs[1].pairs == 2 * (320 + 36));
  CHECK(costs[1].rows == 2 * 48);
  for (const LengthCost& cost : costs) {
    double sum = 0, attention = 0;
    int64_t calls = 0;
    for (const OperatorTime& time : cost.operators) {
      sum += time.forward_ms + time.backward_ms;
      if (time.name != "causal_attention") continue;
      attention = time.forward_ms + time.backward_ms;
      calls = time.calls;
    }
    CHECK(calls == 6);
    CHECK(cost.attention_ms == attention);
    CHECK(attention > 0);
    CHECK(sum <= cost.ms.max);
    CHECK(cost.rest_ms() > 0);
  }
  // The projected memory is kept: 32 rows more of q (8 wide), keys and values (16 wide), in 4 layers.
  CHECK(costs[1].peak_bytes >= costs[0].peak_bytes + size_t{4} * 2 * 32 * (8 + 16) * sizeof(float));
  CHECK(contains(error_of([] { measure_lengths(bench_sizes("laptop"), MatmulPrecision::f32, {}, 0); }),
                 "at least 1"));
}

TEST_CASE("bench length: the program writes every point of both sweeps") {
  const TempDir folder;
  const std::string json = (folder / "length.json").string();
  const ToolRun run = length({"--min=8", "--max=32", "--unroll=4", "--json=" + json});
  REQUIRE_MESSAGE(run.exit_code == 0, run.err);
  CHECK(contains(run.out, "most over a shorter length: attention"));
  const nlohmann::json record = nlohmann::json::parse(read_text(json));
  std::string points;
  for (const auto& sweep : record.at("sweeps"))
    for (const auto& row : sweep.at("rows"))
      points += row.at("unroll").dump() + "+" + row.at("memory").dump() + " ";
  CHECK(points == "8+8 16+16 32+32 4+8 4+16 4+32 ");
  CHECK(length({"--min=64", "--max=64"}).exit_code == 2);
}
