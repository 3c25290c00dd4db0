// Philox4x32-10 against the published known answers, and the helpers built on its words.
#include "tandem/core/philox.h"
#include "tandem/core/macros.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <tuple>
#include <vector>

using namespace tandem;

namespace {

using Words = std::tuple<uint32_t, uint32_t, uint32_t, uint32_t>;
Words words(const PhiloxBlock& block) {
  return {block.x, block.y, block.z, block.w};
}

TANDEM_SIMD void fill_words(uint32_t* out, int64_t blocks, uint64_t key, uint64_t first) {
  for (int64_t i = 0; i < blocks; ++i) {
    const PhiloxBlock block = philox(key, first + static_cast<uint64_t>(i), 5, 6);
    out[4 * i] = block.x;
    out[4 * i + 1] = block.y;
    out[4 * i + 2] = block.z;
    out[4 * i + 3] = block.w;
  }
}

}  // namespace

TEST_CASE("philox: the known answers of Random123") {
  CHECK(words(philox(0, 0, 0, 0)) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(words(philox(~uint64_t{0}, ~uint64_t{0}, 0xffffffff, 0xffffffff)) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  // Counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0: the digits of pi.
  CHECK(words(philox(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x13198a2e, 0x03707344)) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("philox: a vectorised loop gives the same words, past a carry in the counter") {
  constexpr int64_t kBlocks = 103;
  constexpr uint64_t kFirst = 0xffffffc0u;  // passes 2^32 on the way
  std::vector<uint32_t> out(4 * kBlocks);
  fill_words(out.data(), kBlocks, 0x123456789abcdef0, kFirst);
  for (int64_t i = 0; i < kBlocks; ++i) {
    volatile uint64_t counter =
        kFirst + static_cast<uint64_t>(i);  // keeps the compiler from reusing the loop above
    CHECK(words(philox(0x123456789abcdef0, counter, 5, 6)) ==
          Words{out[4 * i], out[4 * i + 1], out[4 * i + 2], out[4 * i + 3]});
  }
}

TEST_CASE("philox: every word of key and counter matters") {
  std::set<Words> seen{words(philox(1, 1, 1, 1))};
  for (int bit = 0; bit < 64; ++bit) {
    seen.insert(words(philox(1 ^ (uint64_t{1} << bit), 1, 1, 1)));
    seen.insert(words(philox(1, 1 ^ (uint64_t{1} << bit), 1, 1)));
  }
  for (int bit = 0; bit < 32; ++bit) {
    seen.insert(words(philox(1, 1, 1 ^ (1u << bit), 1)));
    seen.insert(words(philox(1, 1, 1, 1 ^ (1u << bit))));
  }
  CHECK(seen.size() == 1 + 2 * 64 + 2 * 32);
}

TEST_CASE("uniform_float: numbers are multiples of 2^-24 in [0, 1)") {
  CHECK(uniform_float(0) == 0.0f);
  CHECK(uniform_float(0xff) == 0.0f);
  CHECK(uniform_float(0x100) == 0x1p-24f);
  CHECK(uniform_float(0x80000000) == 0.5f);
  CHECK(uniform_float(0xffffffff) == 1 - 0x1p-24f);
}

TEST_CASE("keep_threshold: a share p of all words lies below it") {
  CHECK(keep_threshold(0) == 0);
  CHECK(keep_threshold(0.5) == 0x80000000);
  CHECK(keep_threshold(0.25) == 0x40000000);
  CHECK(keep_threshold(0.1) == 429496730);  // 0.1 * 2^32 = 429496729.6
  CHECK(keep_threshold(1 - 1e-12) == 0xffffffff);
  int dropped = 0;
  constexpr int kBlocks = 25000;
  const uint32_t threshold = keep_threshold(0.3);
  for (uint32_t i = 0; i < kBlocks; ++i) {
    const PhiloxBlock block = philox(42, i, 0, 0);
    for (uint32_t word : {block.x, block.y, block.z, block.w}) dropped += word < threshold;
  }
  CHECK(std::abs(dropped / (4.0 * kBlocks) - 0.3) < 4 * std::sqrt(0.3 * 0.7 / (4 * kBlocks)));
}
