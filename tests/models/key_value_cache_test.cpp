// KeyValueCache: what texts that join at different times see, and when they are attended together.
#include "tandem/models/layers/key_value_cache.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "tandem/core/array.h"

namespace tandem::testing {
namespace {

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
