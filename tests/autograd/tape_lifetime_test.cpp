// Tapes and NoGrads that end in any order and on any thread: recording follows those that are left.
#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "tandem/autograd/tape.h"
#include "tests/support/errors.h"
#include "tests/support/tape_ops.h"

using namespace tandem;
using namespace tape_ops;
using tandem::testing::contains;
using tandem::testing::error_of;
using Values = std::vector<double>;

namespace {

// One forward and backward pass on the current tape.
Values gradient_of_square(Tape& tape) {
  const Tensor x = leaf_of({3});
  tape.backward(sum(mul(x, x)));
  return list(grad(x));
}

}  // namespace

TEST_CASE("tape lifetime: a tape assigned to the pointer of the one before is current") {
  auto tape = std::make_unique<Tape>();
  for (int step = 0; step < 5; ++step) {
    tape = std::make_unique<Tape>();  // the new one is made before the old one is destroyed
    REQUIRE(Tape::current() == tape.get());
    CHECK(gradient_of_square(*tape) == Values{6});
  }
  tape.reset();
  CHECK(Tape::current() == nullptr);
}

TEST_CASE("tape lifetime: tapes destroyed out of order leave the innermost that is left") {
  auto first = std::make_unique<Tape>(), second = std::make_unique<Tape>(), third = std::make_unique<Tape>();
  second.reset();
  CHECK(Tape::current() == third.get());
  CHECK(gradient_of_square(*third) == Values{6});
  third.reset();
  CHECK(Tape::current() == first.get());
  CHECK(gradient_of_square(*first) == Values{6});
  first.reset();
  CHECK(Tape::current() == nullptr);
  CHECK(!needs_grad(scale(leaf_of({1}), 2)));
}

TEST_CASE("tape lifetime: a NoGrad that outlives its tape leaves no tape behind") {
  auto outer = std::make_unique<Tape>();
  auto tape = std::make_unique<Tape>();
  auto pause = std::make_unique<NoGrad>();
  tape.reset();
  CHECK(Tape::current() == nullptr);  // still paused
  pause.reset();
  CHECK(Tape::current() == outer.get());
  pause = std::make_unique<NoGrad>();
  outer.reset();
  pause.reset();
  CHECK(Tape::current() == nullptr);
}

TEST_CASE("tape lifetime: a tape made during a pause records, and the pause goes on after it") {
  Tape outer;
  auto pause = std::make_unique<NoGrad>();
  auto inner = std::make_unique<Tape>();
  CHECK(Tape::current() == inner.get());
  pause.reset();
  CHECK(Tape::current() == inner.get());
  pause = std::make_unique<NoGrad>();
  inner.reset();
  CHECK(Tape::current() == nullptr);
  pause.reset();
  CHECK(Tape::current() == &outer);
}

TEST_CASE("tape lifetime: a tape destroyed on another thread is current no more") {
  const Tensor x = leaf_of({1});
  auto outer = std::make_unique<Tape>();
  auto tape = std::make_unique<Tape>();
  const Tensor y = scale(x, 2);
  std::thread([&tape] {
    Tape own;
    tape.reset();
    CHECK(Tape::current() == &own);
  }).join();
  CHECK(Tape::current() == outer.get());
  CHECK(contains(error_of([&y] { scale(y, 2); }), "input 0, f64 (1) on cpu, was recorded on another tape"));
  std::thread([&outer] { outer.reset(); }).join();
  CHECK(Tape::current() == nullptr);
}

TEST_CASE("tape lifetime: a tape outlives its thread, and may be walked on another") {
  const Tensor x = leaf_of({3});
  std::unique_ptr<Tape> tape;
  Tensor loss;
  std::thread([&] {
    tape = std::make_unique<Tape>();
    loss = sum(mul(x, x));
  }).join();
  CHECK(Tape::current() == nullptr);  // it records on no thread
  tape->backward(loss);
  CHECK(list(grad(x)) == Values{6});
  tape.reset();
  CHECK(Tape::current() == nullptr);
}

TEST_CASE("tape lifetime: pauses end in any order and on any thread") {
  Tape tape;
  auto first = std::make_unique<NoGrad>(), second = std::make_unique<NoGrad>();
  first.reset();
  CHECK(Tape::current() == nullptr);
  std::thread([&second] { second.reset(); }).join();
  CHECK(Tape::current() == &tape);
}

TEST_CASE("tape lifetime: threads that hand their tapes on, in parallel") {
  constexpr int kThreads = 4, kPasses = 200;
  std::vector<std::unique_ptr<Tape>> dropped[kThreads];
  std::vector<std::thread> threads;
  std::vector<int> wrong(kThreads, 0);
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([t, &dropped, &wrong] {
      for (int pass = 0; pass < kPasses; ++pass) {
        dropped[t].push_back(std::make_unique<Tape>());
        wrong[t] += Tape::current() != dropped[t].back().get();
        wrong[t] += gradient_of_square(*dropped[t].back()) != Values{6};
        if (pass % 2 == 1) dropped[t].erase(dropped[t].end() - 2);  // the older of the last two
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (auto& tapes : dropped) tapes.clear();  // on this thread
  CHECK(wrong == std::vector<int>(kThreads, 0));
  CHECK(Tape::current() == nullptr);
}

TEST_CASE("tape lifetime: a static tape outlives the data of its thread") {
  static std::optional<Tape> tape;  // destroyed at the end of the program
  std::thread([] {
    tape.emplace();
    CHECK(gradient_of_square(*tape) == Values{6});
  }).join();
  CHECK(Tape::current() == nullptr);
}
