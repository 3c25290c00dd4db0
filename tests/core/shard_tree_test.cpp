// The tree of shards: every division over ranks gives the sum of one rank, bit for bit.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tandem/core/random.h"
#include "tandem/core/shard_tree.h"
#include "tests/support/errors.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

// The definition, by recursion from the root.
float sum_of_node(const std::vector<float>& values, int64_t first, int64_t last) {
  if (last - first == 1) return values[static_cast<size_t>(first)];
  int64_t left = 1;
  while (2 * left < last - first) left *= 2;
  return sum_of_node(values, first, first + left) + sum_of_node(values, first + left, last);
}

float sum_over_ranks(const std::vector<float>& values, int64_t ranks) {
  const auto shards = static_cast<int64_t>(values.size());
  const auto add = [](float& left, float& right) { left += right; };
  TreeSum<float> all(shards, add);
  for (int64_t r = 0; r < ranks; ++r) {
    TreeSum<float> own(shards, add);
    const IndexRange range = part_of(shards, ranks, r);
    for (int64_t s = range.first; s < range.last; ++s) own.push({s, s + 1}, values[static_cast<size_t>(s)]);
    const std::vector<IndexRange> nodes = nodes_of(shards, range);
    REQUIRE(own.parts().size() == nodes.size());
    for (size_t i = 0; i < nodes.size(); ++i) {
      CHECK(own.parts()[i].shards == nodes[i]);
      all.push(own.parts()[i].shards, own.parts()[i].value);
    }
  }
  REQUIRE(all.parts().size() == 1);
  CHECK(all.parts()[0].shards == IndexRange{0, shards});
  return all.parts()[0].value;
}

bool same_bits(float a, float b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

}  // namespace

TEST_CASE("shard tree: the sum is the same bits for every number of ranks") {
  Random random(1);
  int differs_from_a_chain = 0;
  for (int64_t shards = 1; shards <= 17; ++shards) {
    for (int trial = 0; trial < 20; ++trial) {
      std::vector<float> values;
      for (int64_t s = 0; s < shards; ++s)
        values.push_back(static_cast<float>(random.normal() * std::pow(10, random.uniform(-3, 3))));
      const float expected = sum_of_node(values, 0, shards);
      for (int64_t ranks = 1; ranks <= shards; ++ranks) {
        CAPTURE(shards);
        CAPTURE(ranks);
        CHECK(same_bits(sum_over_ranks(values, ranks), expected));
      }
      float chain = 0;
      for (const float value : values) chain += value;
      differs_from_a_chain += !same_bits(chain, expected);
    }
  }
  CHECK(differs_from_a_chain > 50);  // the order matters for these values, so the check above can fail
}

TEST_CASE("shard tree: infinity and NaN reach the sum") {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
    for (int64_t at = 0; at < 7; ++at) {
      std::vector<float> values(7, 1.0f);
      values[static_cast<size_t>(at)] = bad;
      for (int64_t ranks = 1; ranks <= 7; ++ranks) CHECK(!std::isfinite(sum_over_ranks(values, ranks)));
    }
}

TEST_CASE("shard tree: parts cover everything once, in order, and differ by one at most") {
  for (const int64_t count : {0, 1, 5, 16, 17, 1000, 1'000'003})
    for (int64_t parts = 1; parts <= 17; ++parts) {
      int64_t next = 0;
      for (int64_t i = 0; i < parts; ++i) {
        const IndexRange part = part_of(count, parts, i);
        CHECK(part.first == next);
        CHECK(part.size() >= count / parts);
        CHECK(part.size() <= count / parts + 1);
        next = part.last;
      }
      CHECK(next == count);
    }
  const int64_t many = int64_t{1} << 60;
  CHECK(part_of(many, 7, 6).last == many);
  CHECK(contains(error_of([] { part_of(3, 2, 2); }), "part 2 of 3 items in 2 parts"));
}

TEST_CASE("shard tree: a rank sends at most two nodes a level") {
  CHECK(nodes_of(8, {0, 8}) == std::vector<IndexRange>{{0, 8}});
  CHECK(nodes_of(8, {2, 4}) == std::vector<IndexRange>{{2, 4}});
  CHECK(nodes_of(8, {1, 7}) == std::vector<IndexRange>{{1, 2}, {2, 4}, {4, 6}, {6, 7}});
  CHECK(nodes_of(7, {4, 7}) == std::vector<IndexRange>{{4, 7}});
  CHECK(nodes_of(6, {0, 3}) == std::vector<IndexRange>{{0, 2}, {2, 3}});
  CHECK(nodes_of(6, {3, 3}).empty());
  CHECK(contains(error_of([] { nodes_of(4, {2, 5}); }), "2 .. 5"));
}
