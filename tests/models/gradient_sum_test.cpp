// Sums of gradients over ranks in buckets: what lies in a bucket, the same bits for all buckets, exchanges that begin during
// the backward pass. Whole runs are in shards_test.cpp, and those on GPUs in tests/cuda/.
#include "tandem/models/training/gradient_sum.h"

#include <doctest/doctest.h>

#include <mutex>

#include "tandem/autograd/tape.h"
#include "tandem/models/training/gradient_buckets.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/reduce.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/parameters.h"
#include "tests/support/same_bits.h"
#include "tests/support/thread_ranks.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

using Buckets = std::vector<IndexRange>;

std::vector<NamedTensor> parameters_of_chain() {
  std::vector<NamedTensor> all;
  for (const int64_t size : {300, 40, 1, 2000, 7, 130})
    all.push_back({"p" + std::to_string(all.size()),
                   requires_grad(random_tensor({size}, DType::f32, 11 + all.size()))});
  all.push_back({"unused", requires_grad(random_tensor({5}, DType::f32, 99))});
  return all;
}

// A loss to which all but the last parameter contribute, in their order.
Tensor chain_loss(const std::vector<NamedTensor>& p, int64_t shard) {
  const auto term = [&](size_t i) {
    const Tensor& x = p[i].value;
    return sum(mul(mul(x, x), random_tensor(x.shape(), DType::f32, 1000 * (shard + 1) + i)));
  };
  Tensor loss = term(0);
  for (size_t i = 1; i < 6; ++i) loss = add(loss, term(i));
  return loss;
}

struct Sums {
  std::vector<Tensor> gradients;  // undefined of a parameter without one
  Tensor loss;
  std::vector<size_t> started;  // buckets whose exchange began during the backward pass, in order
};

// Adds the gradients of `shards` shards on this rank and the others.
Sums sums_of(int64_t shards, const std::shared_ptr<Ranks>& ranks, const Buckets& buckets, bool early) {
  const std::vector<NamedTensor> parameters = parameters_of_chain();
  GradientSum sums(parameters, shards, ranks, make_transport(Device::cpu(), ranks));
  sums.set_buckets(buckets);
  Sums result;
  for (int step = 0; step < 2; ++step) {  // the second finds what the first has left
    result.started.clear();
    sums.begin();
    for (int64_t s = sums.own().first; s < sums.own().last; ++s) {
      const bool is_last = early && s + 1 == sums.own().last;
      Tape::Options options;
      if (is_last) {
        options.on_backward = [&](const auto& leaves) { sums.expect_final(leaves); };
        options.on_final = [&](const GradNode& leaf) {
          for (const size_t bucket : sums.take_final(leaf)) {
            sums.start(bucket);
            result.started.push_back(bucket);
          }
        };
      }
      Tape tape(options);
      const Tensor loss = chain_loss(parameters, s);
      tape.backward(loss);
      sums.push(loss.detach().to(DType::f64).view_as({1}));
    }
    sums.exchange();
    result.loss = zeros({1}, DType::f64);
    sums.give_back(result.loss);
    result.gradients.clear();
    for (const NamedTensor& parameter : parameters) {
      result.gradients.push_back(grad(parameter.value).defined() ? grad(parameter.value).clone() : Tensor());
      zero_grad(parameter.value);
    }
  }
  return result;
}

}  // namespace

TEST_CASE("gradient buckets: from the last parameter backwards, each takes parameters until it is full") {
  CHECK(gradient_buckets({10, 10, 10, 10, 10}, {10, 20}) == Buckets{{0, 2}, {2, 4}, {4, 5}});
  CHECK(gradient_buckets({10, 10, 10, 10}, {10, 20}) == Buckets{{0, 1}, {1, 3}, {3, 4}});
  CHECK(gradient_buckets({5, 100, 1, 1, 1}, {3, 50}) == Buckets{{0, 1}, {1, 2}, {2, 5}});
  CHECK(gradient_buckets({5, 6, 7}, {1000, 1000}) == Buckets{{0, 3}});
  CHECK(gradient_buckets({5, 6, 7}, BucketBytes::unlimited()) == Buckets{{0, 3}});
  CHECK(gradient_buckets({0, 0, 7, 0}, {1, 1}) == Buckets{{0, 2}, {2, 4}});
  CHECK(gradient_buckets({}, {}) == Buckets{{0, 0}});
  const auto megabyte = int64_t{1} << 20;
  CHECK(gradient_buckets(std::vector<int64_t>(60, megabyte), {}) ==
        Buckets{{0, 9}, {9, 34}, {34, 59}, {59, 60}});
}

TEST_CASE("gradient sum: the same bits for all buckets and ranks, begun early or not") {
  for (const int64_t shards : {2, 3, 6}) {
    const Sums expected = sums_of(shards, Ranks::alone(), {{0, 7}}, false);
    CHECK(!expected.gradients.back().defined());
    for (const int n : {2, 3})
      for (const Buckets& buckets :
           {Buckets{{0, 7}}, {{0, 3}, {3, 7}}, {{0, 1}, {1, 2}, {2, 4}, {4, 5}, {5, 7}}, {{0, 6}, {6, 7}}})
        for (const bool early : {false, true}) {
          if (n > shards) continue;
          CAPTURE(shards);
          CAPTURE(n);
          CAPTURE(buckets.size());
          CAPTURE(early);
          std::vector<Sums> all(static_cast<size_t>(n));
          run_as_ranks(n, [&](const std::shared_ptr<Ranks>& ranks) {
            all[static_cast<size_t>(ranks->rank())] = sums_of(shards, ranks, buckets, early);
          });
          std::vector<size_t> wanted;  // all but the first, the last bucket first
          for (size_t b = buckets.size(); early && b-- > 1;) wanted.push_back(b);
          for (const Sums& sums : all) {
            CHECK(sums.started == wanted);
            CHECK(same_bits(sums.loss, expected.loss));
            for (size_t i = 0; i < 7; ++i) CHECK(same_bits(sums.gradients[i], expected.gradients[i]));
          }
        }
  }
}

TEST_CASE(
    "gradient sum: a gradient that comes after its bucket, and buckets after the first step, are errors") {
  const std::vector<NamedTensor> parameters = parameters_of_chain();
  GradientSum sums(parameters, 1, Ranks::alone(), make_transport(Device::cpu(), Ranks::alone()));
  sums.set_buckets({{0, 4}, {4, 7}});
  sums.begin();
  CHECK(contains(error_of([&] { sums.set_buckets({{0, 7}}); }), "after the first gradients"));
  Tape tape({.on_final = [&](const GradNode& leaf) { sums.take_final(leaf); }});
  const Tensor loss = chain_loss(parameters, 0);
  sums.expect_final({parameters[5].value.node().get()});  // parameter 4, of the same bucket, is missing
  tape.backward(loss);
  CHECK(contains(error_of([&] { sums.push(loss.detach().to(DType::f64).view_as({1})); }),
                 "gradient after its bucket was taken"));
}
