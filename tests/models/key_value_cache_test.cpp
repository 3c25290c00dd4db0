// KeyValueCache: which keys queries see, and when texts that join at different times are attended together.
#include "tandem/models/layers/key_value_cache.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "tandem/core/array.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

// Adds the rows numbered `begin` to `end` - 1, (end - begin, B, 3), and returns what the queries of each group see.
std::vector<Tensor> seen(KeyValueCache& cache, int64_t batch, int64_t begin, int64_t end, Device device) {
  const Tensor rows({end - begin, batch, 3}, DType::f32, device);
  for (int64_t n = begin; n < end; ++n)
    fill(rows.view_rows(n - begin, n - begin + 1), static_cast<double>(n));
  std::vector<Tensor> all;
  const Tensor y = cache.attend(rows, rows, [&all](const Tensor& q, const Tensor& kv) {
    all.push_back(kv.clone());
    return q;
  });
  CHECK(y.to_vector<float>() == rows.to_vector<float>());  // the groups' results lie where their queries lay
  return all;
}

// Checks that rows (n, B, 3) are those numbered `begin` to `end` - 1.
void check_numbers(const Tensor& rows, int64_t batch, int64_t begin, int64_t end) {
  REQUIRE(rows.shape() == Shape({end - begin, batch, 3}));
  const std::vector<float> values = rows.to_vector<float>();
  for (size_t i = 0; i < values.size(); ++i)
    CHECK(values[i] == static_cast<float>(begin + static_cast<int64_t>(i) / (3 * batch)));
}

TEST_CASE("key-value cache: the last rows, together and in order, one by one and several at once") {
  for (const Device device : test_devices())
    for (const int64_t visible : {1, 2, 5}) {
      KeyValueCache cache(visible, 2, 3, DType::f32, device), pieces(visible, 2, 3, DType::f32, device);
      for (int64_t n = 0; n < 4 * visible + 3; ++n)
        check_numbers(seen(cache, 2, n, n + 1, device)[0], 2, std::max<int64_t>(0, n + 1 - visible), n + 1);
      for (int64_t begin = 0; const int64_t steps : {1, 3, 2, 9, 1, 4, 5, 1, 1, 6, 12, 1, 5, 5, 5}) {
        check_numbers(seen(pieces, 2, begin, begin + steps, device)[0], 2,
                      std::max<int64_t>(0, begin + 1 - visible), begin + steps);
        begin += steps;
      }
    }
  CHECK(contains(error_of([] { KeyValueCache cache(0, 1, 1, DType::f32, Device::cpu()); }),
                 "at least one token"));
}

TEST_CASE("key-value cache: texts that join are groups of their own until they are full, and others leave") {
  KeyValueCache cache(3, 3, 3, DType::f32, Device::cpu()), joining(3, 2, 3, DType::f32, Device::cpu());
  for (int64_t n = 0; n < 4; ++n) seen(cache, 3, n, n + 1, Device::cpu());
  seen(joining, 2, 3, 4, Device::cpu());
  cache.append(joining);
  std::vector<Tensor> groups = seen(cache, 5, 4, 5, Device::cpu());
  REQUIRE(groups.size() == 2);
  check_numbers(groups[0], 3, 2, 5);
  check_numbers(groups[1], 2, 3, 5);
  cache.keep(std::vector<int64_t>{0, 2, 4});
  groups = seen(cache, 3, 5, 7, Device::cpu());
  REQUIRE(groups.size() == 1);
  check_numbers(groups[0], 3, 3, 7);
  cache.keep(std::vector<int64_t>{2});
  groups = seen(cache, 1, 7, 8, Device::cpu());
  REQUIRE(groups.size() == 1);
  check_numbers(groups[0], 1, 5, 8);
}

constexpr int64_t kVisible = 4, kWidth = 2;

// Returns kv (1, B, kWidth) of the step of texts that are `ages` old: the key of text i at age a is 100 i + a.
Tensor rows_of(const std::vector<int64_t>& ages) {
  std::vector<double> values;
  for (size_t i = 0; i < ages.size(); ++i)
    values.insert(values.end(), kWidth, static_cast<double>(100 * static_cast<int64_t>(i) + ages[i]));
  return tensor_of<double>({1, static_cast<int64_t>(ages.size()), kWidth}, values);
}

TEST_CASE(
    "KeyValueCache: texts that join see their own last keys, and are one group once their memory is full") {
  KeyValueCache cache(kVisible, 1, kWidth, DType::f64, Device::cpu());
  std::vector<int64_t> ages = {0};
  // Makes a step of all texts, and returns how many groups are attended.
  const auto step = [&cache, &ages] {
    int groups = 0;
    size_t text = 0;
    const auto see = [&](const Tensor& q, const Tensor& kv) {
      ++groups;
      const std::vector<double> seen = kv.to_vector<double>();
      const int64_t batch = kv.size(1);
      for (int64_t b = 0; b < batch; ++b, ++text) {
        CHECK(kv.size(0) == std::min(ages[text] + 1, kVisible));
        for (int64_t row = 0; row < kv.size(0); ++row)
          CHECK(seen[static_cast<size_t>((row * batch + b) * kWidth)] ==
                100 * static_cast<double>(text) + static_cast<double>(ages[text] - kv.size(0) + 1 + row));
      }
      return q;
    };
    const Tensor q = rows_of(ages);
    CHECK(cache.attend(q, q, see).to_vector<double>() == q.to_vector<double>());
    CHECK(text == ages.size());
    for (int64_t& age : ages) ++age;
    return groups;
  };
  for (int i = 0; i < 6; ++i) CHECK(step() == 1);
  for (int i = 0; i < 2; ++i) {
    KeyValueCache other(kVisible, 1, kWidth, DType::f64, Device::cpu());
    cache.append(other);
    ages.push_back(0);
    CHECK(step() == 2 + i);
  }
  CHECK(ages == std::vector<int64_t>{8, 2, 1});
  CHECK(step() == 3);
  CHECK(step() == 2);  // the second text has three keys, which with its next one are all that it sees
  for (int i = 0; i < 20; ++i) CHECK(step() == 1);
  cache.keep(std::vector<int64_t>{0, 2});
  // What was the third text is the second now. Its keys are numbered anew, which shows once the old ones are out of sight.
  ages = {ages[0], ages[2]};
  for (int i = 0; i < 3; ++i) {
    const Tensor q = rows_of(ages);
    cache.attend(q, q, [](const Tensor& x, const Tensor&) { return x; });
    for (int64_t& age : ages) ++age;
  }
  CHECK(step() == 1);
}

}  // namespace
}  // namespace tandem::testing
