// The tape: what is recorded, how gradients flow back, how deep a graph may be, threads.
#include "tandem/autograd/tape.h"

#include <doctest/doctest.h>

#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "tandem/autograd/recompute.h"
#include "tandem/core/host_memory.h"
#include "tests/support/tape_ops.h"

using namespace tandem;
using namespace tape_ops;
using Values = std::vector<double>;

namespace {

// Quotient and remainder of x by 3 as two outputs: dx = dq / 3 + dr, either of which may be missing.
std::vector<Tensor> split(const Tensor& x, std::vector<bool>* seen = nullptr) {
  const Tensor q = zip(x, x, [](double a, double) { return a / 3; }), r = x.detach().clone();
  return record("split", {q, r}, {x}, [x, seen](const Grads& dys) -> Grads {
    Tensor dx = zeros_like(x);
    if (seen) *seen = {dys[0].defined(), dys[1].defined()};
    if (dys[0].defined()) add_in_place(dx, zip(dys[0], dys[0], [](double a, double) { return a / 3; }));
    if (dys[1].defined()) add_in_place(dx, dys[1]);
    return {dx};
  });
}

}  // namespace

TEST_CASE("tape: a chain of operators is recorded and walked back") {
  const Tensor x = leaf_of({2, 3});
  Tape tape;
  const Tensor loss = sum(scale(scale(x, 5), 7));
  CHECK(loss.item() == 175);
  CHECK(tape.size() == 3);
  tape.backward(loss);
  CHECK(list(grad(x)) == Values{35, 35});
  CHECK(tape.size() == 0);
  CHECK(tape.spent());
}

TEST_CASE("tape: the two ways back of a diamond are added") {
  const Tensor x = leaf_of({2, 3});
  Tape tape;
  const Tensor t = scale(x, 2);
  tape.backward(sum(mul(scale(t, 3), scale(t, 5))));  // 60 x^2
  CHECK(list(grad(x)) == Values{240, 360});
}

TEST_CASE("tape: one tensor may be both inputs, a leaf or not") {
  const Tensor x = leaf_of({2, 3});
  {
    Tape tape;
    tape.backward(sum(mul(x, x)));
  }
  CHECK(list(grad(x)) == Values{4, 6});
  zero_grad(x);
  {
    Tape tape;
    const Tensor t = scale(x, 10);
    tape.backward(sum(mul(t, t)));
  }
  CHECK(list(grad(x)) == Values{400, 600});
  zero_grad(x);
  Tape tape;
  tape.backward(sum(add(add(x, x), x)));
  CHECK(list(grad(x)) == Values{3, 3});
}

TEST_CASE("tape: a gradient returned for two inputs is not corrupted when one of them adds to it") {
  const Tensor x = leaf_of({1}), y = leaf_of({1});
  Tape tape;
  const Tensor a = scale(x, 2), b = scale(y, 3);
  const Tensor once = add(a, b);      // its dy becomes the gradient of a and of b, one memory
  const Tensor more = scale(a, 100);  // and walked before `once` or after, adds to that of a alone
  const Tensor later = add(once, more);
  const Tensor again = scale(b, 1000);
  tape.backward(sum(add(later, again)));
  CHECK(list(grad(x)) == Values{2 * 101});
  CHECK(list(grad(y)) == Values{3 * 1001});
}

TEST_CASE("tape: leaves that receive the same gradient own a copy each") {
  const Tensor x = leaf_of({1}), y = leaf_of({1});
  Tape tape;
  tape.backward(sum(add(x, y)));
  CHECK(grad(x).raw() != grad(y).raw());
  CHECK(list(grad(x)) == Values{1});
  CHECK(list(grad(y)) == Values{1});
}

TEST_CASE("tape: an operator may keep the tensor it returned as a gradient") {
  const Tensor x = leaf_of({1, 1}), kept = vector_of({7, 7});
  Tape tape;
  const Tensor t = scale(x, 1);
  const auto constant = [&kept](const Tensor& z) {
    return record("constant", z.detach().clone(), {z}, [kept](const Tensor&) -> Grads { return {kept}; });
  };
  tape.backward(sum(add(constant(t), constant(t))));
  CHECK(list(grad(x)) == Values{14, 14});
  CHECK(list(kept) == Values{7, 7});
}

TEST_CASE("tape: a saved tensor that is given away as a leaf's gradient is not copied") {
  const Tensor x = leaf_of({1, 1});
  Tensor kept = vector_of({7, 7});
  const void* memory = kept.raw();
  Tape tape;
  const Tensor y =
      record("gives", x.detach().clone(), {x}, [kept](const Tensor&) -> Grads { return {kept}; });
  kept = Tensor();
  tape.backward(sum(y));
  CHECK(grad(x).raw() == memory);
}

TEST_CASE("tape: one of several outputs may be unused") {
  const Tensor x = leaf_of({3, 6});
  std::vector<bool> seen;
  for (const int used : {0, 1}) {
    zero_grad(x);
    Tape tape;
    tape.backward(sum(split(x, &seen)[used]));
    CHECK(seen == std::vector<bool>{used == 0, used == 1});
    CHECK(grad(x).data<double>()[0] == doctest::Approx(used == 0 ? 1.0 / 3 : 1.0));
  }
  zero_grad(x);
  Tape tape;
  const auto ys = split(x, &seen);
  tape.backward({ys[0], ys[1]}, {vector_of({3, 3}), vector_of({1, 2})});
  CHECK(list(grad(x)) == Values{2, 3});
}

TEST_CASE("tape: an entry that no gradient reaches is skipped") {
  const Tensor x = leaf_of({1}), y = leaf_of({1});
  Tape tape;
  const Tensor unused =
      record("unused", y.detach().clone(), {y}, [](const Tensor&) -> Grads { throw Error("was run"); });
  tape.backward(sum(scale(x, 2)));
  CHECK(list(grad(x)) == Values{2});
  CHECK(!grad(y).defined());
}

TEST_CASE("tape: an integer output is not tracked") {
  const Tensor x = leaf_of({1, 2});
  Tape tape;
  const auto ys = record("with index", {x.detach().clone(), zeros({1}, DType::i64)}, {x},
                         [](const Grads& dys) -> Grads { return {dys[0]}; });
  CHECK(needs_grad(ys[0]));
  CHECK(!needs_grad(ys[1]));
  tape.backward(sum(ys[0]));
  CHECK(list(grad(x)) == Values{1, 1});
}

TEST_CASE("tape: without one nothing is recorded and nothing saved") {
  const Tensor x = leaf_of({1, 2});
  CHECK(Tape::current() == nullptr);
  std::weak_ptr<Storage> saved;
  Tensor y;
  {
    const Tensor t = scale(x, 2);
    saved = t.storage();
    y = mul(t, t);
  }
  CHECK(saved.expired());
  CHECK(!needs_grad(y));
}

TEST_CASE("tape: an operator whose inputs need no gradient is not recorded") {
  Tape tape;
  const Tensor y = mul(vector_of({1}), vector_of({2}));
  CHECK(tape.size() == 0);
  CHECK(!needs_grad(y));
}

TEST_CASE("tape: NoGrad pauses recording in its scope") {
  const Tensor x = leaf_of({1});
  Tape tape;
  {
    NoGrad pause;
    CHECK(Tape::current() == nullptr);
    CHECK(!needs_grad(scale(x, 2)));
    { NoGrad inner; }
    CHECK(Tape::current() == nullptr);
  }
  CHECK(Tape::current() == &tape);
  CHECK(tape.size() == 0);
}

TEST_CASE("tape: of nested tapes the inner one records, and leaves are shared") {
  const Tensor x = leaf_of({1, 2});
  Tape outer;
  const Tensor y = scale(x, 3);
  {
    Tape inner;
    CHECK(Tape::current() == &inner);
    const Tensor z = scale(mul(x, y.detach()), 1);
    CHECK(inner.size() == 2);
    inner.backward(sum(z));
    CHECK(list(grad(x)) == Values{3, 6});
  }
  CHECK(Tape::current() == &outer);
  CHECK(outer.size() == 1);
  outer.backward(sum(y));
  CHECK(list(grad(x)) == Values{6, 9});
}

TEST_CASE("tape: a leaf is final once backward has passed its first use, with the gradient that it keeps") {
  const Tensor x = leaf_of({1, 2}), y = leaf_of({3, 4}), z = leaf_of({5, 6}), unused = leaf_of({7, 8});
  std::map<const GradNode*, Values> at_its_time;
  std::vector<const GradNode*> order;
  const auto on_final = [&](const GradNode& leaf) {
    order.push_back(&leaf);
    at_its_time[&leaf] = leaf.grad.defined() ? list(leaf.grad) : Values();
  };
  std::set<const GradNode*> used;
  Tape tape({.on_backward = [&used](const auto& leaves) { used = leaves; }, .on_final = on_final});
  const Tensor dead_end = mul(unused, unused);  // loss does not depend on it
  const Tensor a = mul(x, y);
  const Tensor b = mul(a, z);
  tape.backward(sum(mul(mul(b, y), z)));  // y and z are used again, x is not
  CHECK(order ==
        std::vector<const GradNode*>{z.node().get(), y.node().get(), x.node().get(), unused.node().get()});
  CHECK(used == std::set<const GradNode*>(order.begin(), order.end()));
  for (const Tensor& leaf : {x, y, z}) CHECK(at_its_time[leaf.node().get()] == list(grad(leaf)));
  CHECK(!grad(unused).defined());
}

TEST_CASE("tape: no leaf is final where recomputation hides uses of leaves") {
  const Tensor x = leaf_of({1, 2}), w = leaf_of({3, 4});
  int calls = 0;
  Tape tape({.on_backward = [&calls](const auto& leaves) { calls += static_cast<int>(leaves.size()); },
             .on_final = [&calls](const GradNode&) { ++calls; }});
  const Tensor y = recompute(
      "f", [&w](const std::vector<Tensor>& in) { return std::vector<Tensor>{mul(in[0], w)}; }, {x})[0];
  tape.backward(sum(mul(y, w)));
  CHECK(list(grad(w)) == Values{6, 16});
  CHECK(calls == 0);
}

TEST_CASE("tape: memory falls during backward") {
  std::vector<size_t> in_use;
  const auto probe = [&in_use](const Tensor& x) {
    return record("probe", x.detach().clone(), {x}, [x, &in_use](const Tensor& dy) -> Grads {
      in_use.push_back(host_allocator().statistics().in_use);
      return {dy};
    });
  };
  constexpr size_t kBytes = (1 << 17) * sizeof(double);
  const Tensor x = requires_grad(zeros({1 << 17}, DType::f64));
  Tape tape;
  Tensor y = x;
  for (int i = 0; i < 8; ++i) y = probe(y);
  Tensor loss = sum(y);
  y = Tensor();
  tape.backward(loss);
  REQUIRE(in_use.size() == 8);
  for (size_t i = 1; i + 1 < 8; ++i) CHECK(in_use[i] + kBytes == in_use[i - 1]);
}

TEST_CASE("tape: a million operators go forward and backward, or are dropped without") {
  constexpr int kOperators = 1000000;
  const auto next = [](const Tensor& x) {  // keeps its input, as most operators do; the values are shared
    return record("next", x.detach(), {x}, [x](const Tensor& dy) -> Grads { return {dy}; });
  };
  const Tensor x = requires_grad(full({}, 1, DType::f64));
  for (const bool back : {true, false}) {
    Tape tape;
    Tensor y = x;
    for (int i = 0; i < kOperators; ++i) y = next(y);
    CHECK(tape.size() == kOperators);
    if (back) tape.backward(y);
  }
  CHECK(grad(x).item() == 1);
}

TEST_CASE("tape: threads record and walk their own tapes in parallel") {
  constexpr int kThreads = 4, kPasses = 200;
  std::vector<Values> results(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([t, &results] {
      const Tensor x = leaf_of({1.0 + t, 2.0});
      for (int pass = 0; pass < kPasses; ++pass) {
        Tape tape;
        tape.backward(sum(mul(scale(x, 2), x)));
      }
      if (Tape::current() == nullptr) results[t] = list(grad(x));
    });
  for (std::thread& thread : threads) thread.join();
  for (int t = 0; t < kThreads; ++t) CHECK(results[t] == Values{4 * (1.0 + t) * kPasses, 8 * kPasses});
}

TEST_CASE("tape: a profile sums calls and times by operator, slowest first") {
  const auto slow = [](const Tensor& x) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    return record("slow", x.detach().clone(), {x}, [](const Tensor& dy) -> Grads {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      return {dy};
    });
  };
  const Tensor x = leaf_of({1});
  Tape tape({.profile = true});
  Tensor y = scale(x, 2);
  for (int i = 0; i < 2; ++i) y = slow(y);
  tape.backward(sum(y));
  const auto times = tape.times();
  REQUIRE(times.size() == 3);
  CHECK(times[0].name == "slow");
  CHECK(times[0].calls == 2);
  CHECK(times[0].forward_ms >= 6);
  CHECK(times[0].backward_ms >= 10);
  for (const OperatorTime& time : times) {
    CHECK(time.calls == (time.name == "slow" ? 2 : 1));
    CHECK(time.backward_ms > 0);
  }
  Tape unmeasured;
  unmeasured.backward(sum(scale(x, 2)));
  CHECK(unmeasured.times().empty());
}
