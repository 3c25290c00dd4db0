// Owners of updates: cuts, equal shares, the exchange of ranges; an optimizer whose ranks share updates. Whole runs are in
// shards_test.cpp.
#include "tandem/models/training/update_owners.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <string>

#include "tandem/core/array.h"
#include "tandem/models/training/optimizer.h"
#include "tandem/models/training/tensor_exchange.h"
#include "tandem/ops/optimizer_step.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/give_gradient.h"
#include "tests/support/parameters.h"
#include "tests/support/same_bits.h"
#include "tests/support/thread_ranks.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

std::vector<IndexRange> one_bucket(size_t parameters) {
  return {{0, static_cast<int64_t>(parameters)}};
}

// Checks that the ranges of the ranks follow each other without a gap, begin at multiples of the grains, and differ from
// equal ones by less than the largest piece that cannot be cut. Returns the size of each.
std::vector<int64_t> checked_shares(const std::vector<int64_t>& sizes, const std::vector<int64_t>& grains,
                                    int ranks) {
  const UpdateOwners owners(sizes, grains, ranks, one_bucket(sizes.size()));
  CHECK(owners.ranks() == ranks);
  std::vector<int64_t> shares(static_cast<size_t>(ranks));
  int64_t coarsest = 1;
  for (size_t i = 0; i < sizes.size(); ++i) {
    coarsest = std::max(coarsest, std::min(sizes[i], grains[i]));
    int64_t done = 0;
    for (int r = 0; r < ranks; ++r) {
      const IndexRange range = owners.own(i, r);
      shares[static_cast<size_t>(r)] += range.size();
      if (range.size() == 0) continue;
      CHECK(range.first == done);
      CHECK(range.first % grains[i] == 0);
      done = range.last;
    }
    CHECK(done == sizes[i]);
  }
  const int64_t total = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  for (const int64_t share : shares) CHECK(std::abs(share - total / ranks) <= coarsest + 1);
  return shares;
}

// Parameters that are cut, that are not, and that Muon moves.
std::vector<NamedTensor> parameters_on(Device device) {
  std::vector<NamedTensor> parameters;
  const auto add = [&](const std::string& name, const Shape& shape) {
    const uint64_t seed = parameters.size() + 1;
    parameters.push_back({name, requires_grad(random_tensor(shape, DType::f32, seed).to(device))});
  };
  add("embedding", {300, 130});
  add("layers.0.weight", {40, 50});
  add("layers.0.bias", {40});
  add("layers.1.weight", {50, 40});
  add("unused", {20});
  add("head", {70, 600});
  add("scale", {});
  return parameters;
}

void give_gradients(const std::vector<NamedTensor>& parameters, uint64_t seed) {
  for (const NamedTensor& parameter : parameters)
    if (parameter.name != "unused") {
      const Tensor& value = parameter.value;
      give_gradient(value, random_tensor(value.shape(), value.dtype(), ++seed).to(value.device()));
    }
}

}  // namespace

TEST_CASE("update owners: ranges cover all parameters, begin where they may, and are as equal as can be") {
  for (int ranks = 1; ranks <= 9; ++ranks) {
    CAPTURE(ranks);
    checked_shares({100, 7, 0, 50, 1, 300}, {1, 1, 1, 1, 1, 1}, ranks);
    checked_shares({100, 7, 0, 50, 1, 300}, {16, 16, 16, 16, 16, 16}, ranks);
    checked_shares({100, 7, 50, 1, 300}, {100, 7, 50, 1, 300}, ranks);
    checked_shares({1000000}, {8192}, ranks);
  }
  CHECK(checked_shares({90, 10}, {1, 1}, 4) == std::vector<int64_t>{25, 25, 25, 25});
  CHECK(checked_shares({64}, {64}, 3) == std::vector<int64_t>{0, 64, 0});  // the nearest cut
  CHECK(checked_shares({}, {}, 2) == std::vector<int64_t>{0, 0});
  CHECK(contains(error_of([] {
                   UpdateOwners({1, 2}, {1}, 2, one_bucket(2));
                 }),
                 "2 parameters, and 1 grains"));
  CHECK(contains(error_of([] { UpdateOwners({1}, {0}, 2, one_bucket(1)); }), "multiples of 0"));
  CHECK(contains(error_of([] { UpdateOwners({1}, {1}, 0, one_bucket(1)); }), "0 ranks"));
}

TEST_CASE("update owners: every bucket is shared by all ranks as if it were alone") {
  const std::vector<int64_t> sizes{100, 7, 0, 50, 1, 300}, grains{4, 1, 1, 50, 1, 16};
  for (int ranks = 1; ranks <= 5; ++ranks)
    for (const std::vector<IndexRange>& buckets :
         {std::vector<IndexRange>{{0, 6}}, {{0, 1}, {1, 4}, {4, 6}}, {{0, 1}, {1, 2}, {2, 3}, {3, 6}}}) {
      const UpdateOwners owners(sizes, grains, ranks, buckets);
      CHECK(owners.buckets() == buckets);
      for (size_t b = 0; b < buckets.size(); ++b) {
        const auto first = sizes.begin() + buckets[b].first, last = sizes.begin() + buckets[b].last;
        const UpdateOwners alone({first, last},
                                 {grains.begin() + buckets[b].first, grains.begin() + buckets[b].last}, ranks,
                                 one_bucket(static_cast<size_t>(buckets[b].size())));
        for (int r = 0; r <= ranks; ++r) {
          CHECK(owners.begin(b, r).parameter ==
                alone.begin(0, r).parameter + static_cast<size_t>(buckets[b].first));
          CHECK(owners.begin(b, r).element == alone.begin(0, r).element);
        }
        for (int64_t i = buckets[b].first; i < buckets[b].last; ++i)
          for (int r = 0; r < ranks; ++r)
            CHECK(owners.own(static_cast<size_t>(i), r) ==
                  alone.own(static_cast<size_t>(i - buckets[b].first), r));
      }
    }
  CHECK(contains(error_of([] { UpdateOwners({1, 2}, {1, 1}, 2, {{0, 1}}); }), "end at 1 of 2"));
  CHECK(contains(error_of([] { UpdateOwners({1, 2}, {1, 1}, 2, {{1, 2}}); }), "does not begin at 0"));
  CHECK(contains(error_of([] { UpdateOwners({1}, {1}, 2, one_bucket(1)).own(1, 0); }),
                 "no parameter 1 among 1"));
}

TEST_CASE("update owners: every rank gets the ranges of all others") {
  const UpdateOwners owners({10, 3, 6}, {1, 3, 1}, 3, {{0, 2}, {2, 3}});
  run_as_ranks(3, [&](const std::shared_ptr<Ranks>& ranks) {
    const std::unique_ptr<Transport> transport = make_transport(Device::cpu(), ranks);
    std::vector<Tensor> tensors;
    for (const int64_t size : {10, 3, 6}) tensors.push_back(zeros({size}, DType::f64));
    for (size_t i = 0; i < tensors.size(); ++i)
      for (int64_t e = owners.own(i, ranks->rank()).first; e < owners.own(i, ranks->rank()).last; ++e)
        tensors[i].data<double>()[e] = 100.0 * static_cast<double>(i + 1) + static_cast<double>(e);
    share_ranges(
        tensors, [&owners](size_t i, int rank) { return owners.own(i, rank); }, *ranks, *transport);
    for (size_t i = 0; i < tensors.size(); ++i)
      for (int64_t e = 0; e < tensors[i].numel(); ++e)
        CHECK(tensors[i].data<double>()[e] == 100.0 * static_cast<double>(i + 1) + static_cast<double>(e));
  });
}

TEST_CASE(
    "update owners: ranks that share an update make the bits of one, with a share of the moments each") {
  const Device cpu = Device::cpu();
  for (const std::string kind : {"radam", "adamw", "nag", "lamb", "muon"})
    for (const int size : {2, 3, 5}) {
      CAPTURE(kind);
      CAPTURE(size);
      std::vector<IndexRange> buckets{{0, 7}};
      if (size == 3) buckets = {{0, 2}, {2, 4}, {4, 5}, {5, 7}};
      const OptimizerConfig config{.kind = kind, .clip = 0.5};
      const std::vector<NamedTensor> expected = parameters_on(cpu);
      Optimizer alone(expected, config);
      for (uint64_t step = 0; step < 3; ++step) give_gradients(expected, 100 * step), alone.step(1e-2);
      const std::vector<NamedTensor> expected_state = alone.state();

      std::vector<int64_t> moments(static_cast<size_t>(size));
      run_as_ranks(size, [&](const std::shared_ptr<Ranks>& ranks) {
        const std::unique_ptr<Transport> transport = make_transport(cpu, ranks);
        const std::vector<NamedTensor> parameters = parameters_on(cpu);
        std::vector<Tensor> values;
        for (const NamedTensor& parameter : parameters) values.push_back(parameter.value.detach());
        Optimizer optimizer(parameters, config);
        CHECK(optimizer.can_share());
        const auto owners = std::make_shared<const UpdateOwners>(optimizer.make_owners(size, buckets));
        optimizer.share(owners, ranks->rank());
        const Tensor lr = full({1}, 1e-2, DType::f64), outcome({StepOutcome::kSize}, DType::f64);
        for (uint64_t step = 0; step < 3; ++step) {
          give_gradients(parameters, 100 * step);
          // A rank has no sums of gradients that others own, so that these must not matter.
          for (size_t i = 0; i < parameters.size(); ++i)
            for (int r = 0; r < size; ++r)
              if (r != ranks->rank() && grad(parameters[i].value).defined())
                fill(part_of_tensor(grad(parameters[i].value), owners->own(i, r)), 1e30);
          optimizer.measure();
          share_ranges(
              std::vector<Tensor>(buckets.size(), optimizer.squares()),
              [&optimizer](size_t bucket, int rank) { return optimizer.square_range(bucket, rank); }, *ranks,
              *transport);
          optimizer.update(lr, Tensor(), outcome);
          share_ranges(
              values, [&owners](size_t i, int rank) { return owners->own(i, rank); }, *ranks, *transport);
        }
        for (size_t i = 0; i < parameters.size(); ++i) {
          CAPTURE(parameters[i].name);
          CHECK(same_bits(parameters[i].value, expected[i].value));
        }
        CHECK(optimizer.steps() == 3);
        const std::vector<NamedTensor> state = optimizer.state();
        for (const NamedTensor& part : state)
          if (part.name.ends_with(".m")) moments[static_cast<size_t>(ranks->rank())] += part.value.numel();

        // All states together are that of one process, and each rank finds its own part in it.
        std::vector<NamedTensor> joined = gather_tensors(*ranks, state);
        if (ranks->leads()) joined = optimizer.joined_state(joined);
        joined = broadcast_tensors(*ranks, joined);
        REQUIRE(joined.size() == expected_state.size());
        for (size_t i = 0; i < joined.size(); ++i) {
          CHECK(joined[i].name == expected_state[i].name);
          CHECK(same_bits(joined[i].value, expected_state[i].value));
        }
        joined = cloned(joined);  // on rank 0 parts of it are the optimizer's own memory
        std::vector<Tensor> before;
        for (const NamedTensor& part : state) {
          before.push_back(part.value.clone());
          fill(part.value, 0);
        }
        optimizer.load_state(joined);
        for (size_t i = 0; i < state.size(); ++i) CHECK(same_bits(state[i].value, before[i]));
      });
      int64_t all = 0;
      for (const NamedTensor& parameter : expected) all += parameter.value.numel();
      CHECK(std::accumulate(moments.begin(), moments.end(), int64_t{0}) == all);
      // No piece that stays whole has more elements than a block.
      if (kind != "lamb")
        for (const int64_t own : moments)
          CHECK(own <= all / size + static_cast<int64_t>(buckets.size()) * optimizer_block(cpu));
    }
}

TEST_CASE("update owners: an optimizer shares once, and not on a GPU where Muon moves matrices") {
  for (const Device device : test_devices()) {
    const std::vector<NamedTensor> parameters = parameters_on(device);
    CHECK(Optimizer(parameters, {.kind = "radam"}).can_share());
    CHECK(Optimizer(parameters, {.kind = "muon"}).can_share() == device.is_cpu());
    Optimizer optimizer(parameters, {});
    const auto owners =
        std::make_shared<const UpdateOwners>(optimizer.make_owners(2, one_bucket(parameters.size())));
    optimizer.share(owners, 1);
    CHECK(contains(error_of([&] { optimizer.share(owners, 1); }), "shared already"));
    const std::vector<NamedTensor> own = optimizer.state();
    CHECK(contains(error_of([&] { optimizer.joined_state(own); }), "no rank has"));
  }
}
