// GraphStep on a GPU, real or simulated: parts that are cut are several graphs, and what comes between is called each time;
// a capture that fails calls nothing twice.
#include "tandem/models/training/graph_step.h"

#include <doctest/doctest.h>

#include "tandem/core/array.h"
#include "tandem/core/backend.h"
#include "tandem/core/storage.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

// Adds 1, 2 and 4 to x in one part that is cut twice, and 8 in another. `waits` makes the host read a value, which no graph
// can hold, behind the first cut.
struct Steps {
  Tensor x = zeros({3}, DType::f64, Device::cuda());
  bool waits = false;
  std::vector<std::string> calls;
  GraphStep graph;

  void run() {
    const auto plus = [this](double value) { add_in_place(x, full({3}, value, DType::f64, Device::cuda())); };
    const auto note = [this](const char* what) { return [this, what] { calls.emplace_back(what); }; };
    const std::vector<GraphStep::Part> parts{[&](uint32_t) {
                                               plus(1);
                                               graph.cut(note("first"));
                                               plus(2);
                                               if (waits) x.to_vector<double>();
                                               graph.cut(note("second"));
                                               plus(4);
                                             },
                                             [&](uint32_t) { plus(8); }};
    calls.clear();
    graph.run(0, {}, parts, [this](size_t part) { calls.push_back(part == 0 ? "after 0" : "after 1"); });
  }
};

}  // namespace

TEST_CASE("graph step: what comes between the pieces of a part is called in every step, captured or not") {
  if (!has_cuda()) return;
  Steps steps;
  for (int step = 1; step <= 4; ++step) {
    steps.run();
    CHECK(steps.calls == std::vector<std::string>{"first", "second", "after 0", "after 1"});
    CHECK(steps.x.to_vector<double>()[2] == 15 * step);
  }
  CHECK(steps.graph.captured() == (allocator_mode_from_environment() != AllocatorMode::direct));
}

TEST_CASE("graph step: a part whose capture fails is computed again, without the calls that were made") {
  if (!has_cuda() || allocator_mode_from_environment() == AllocatorMode::direct) return;
  Steps steps;
  steps.waits = true;
  steps.run();
  CHECK(steps.x.to_vector<double>()[0] == 15);
  fill(steps.x,
       0);  // parts that are computed again begin with the same values, which these do not by themselves
  steps.run();
  CHECK(steps.calls == std::vector<std::string>{"first", "second", "after 0", "after 1"});
  CHECK(!steps.graph.captured());
  CHECK(!steps.graph.refusal().empty());
  CHECK(steps.x.to_vector<double>()[0] == 1 + 15);  // the first piece was launched as it was captured
  steps.run();
  CHECK(steps.calls.size() == 4);
  CHECK(steps.x.to_vector<double>()[0] == 1 + 30);
}

TEST_CASE("graph step: an error between two pieces is not the capture's") {
  if (!has_cuda() || allocator_mode_from_environment() == AllocatorMode::direct) return;
  GraphStep graph;
  bool fails = false;
  const Tensor x = zeros({1}, DType::f64, Device::cuda());
  const std::vector<GraphStep::Part> parts{[&](uint32_t) {
    fill(x, 1);
    graph.cut([&] {
      if (fails) throw Error("a rank is lost");
    });
    fill(x, 2);
  }};
  const auto step = [&] { graph.run(0, {}, parts, [](size_t) {}); };
  step();
  fails = true;
  CHECK(error_of(step) == "a rank is lost");
  CHECK(graph.refusal().empty());
  fails = false;
  graph.reset();
  step();
  CHECK(graph.captured());
  CHECK(x.item() == 2);
}
