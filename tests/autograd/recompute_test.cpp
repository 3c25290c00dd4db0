// Recomputation: the same gradients for less memory, whatever the function does with its inputs.
#include "tandem/autograd/recompute.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tandem/core/host_memory.h"
#include "tandem/core/philox.h"
#include "tests/support/errors.h"
#include "tests/support/tape_ops.h"

using namespace tandem;
using namespace tape_ops;
using tandem::testing::error_of;
using Values = std::vector<double>;
using Tensors = std::vector<Tensor>;

namespace {

Tensor sine(const Tensor& x) {
  return record("sine", zip(x, x, [](double a, double) { return std::sin(a); }), {x},
                [x](const Tensor& dy) -> Grads {
                  return {product(dy, zip(x, x, [](double a, double) { return std::cos(a); }))};
                });
}

// Keeps an element if its Philox word is odd; the key is a value, so a second run draws the same mask.
Tensor drop(const Tensor& x, uint64_t seed, uint32_t step) {
  Tensor mask = empty_like(x);
  for (int64_t i = 0; i < x.numel(); ++i) mask.data<double>()[i] = philox(seed, i, step, 0).x & 1 ? 2 : 0;
  return record("drop", product(x, mask), {x},
                [mask](const Tensor& dy) -> Grads { return {product(dy, mask)}; });
}

size_t in_use() {
  return host_allocator().statistics().in_use;
}

struct Outcome {
  Values y, dx, dw;
};

// Runs four layers of sines, plainly or under recomputation, forward and backward.
Outcome run(bool recomputed, int64_t n) {
  const Tensor x = requires_grad(zeros({n}, DType::f64)), w = requires_grad(zeros({n}, DType::f64));
  for (int64_t i = 0; i < n; ++i) {
    x.data<double>()[i] = 0.1 * static_cast<double>(i % 17);
    w.data<double>()[i] = 1 - 0.3 * static_cast<double>(i % 5);
  }
  const Function layer = [w](const Tensors& in) -> Tensors {
    return {sine(mul(sine(mul(in[0], w)), in[0]))};
  };
  Tape tape;
  Tensor h = x;
  for (int i = 0; i < 4; ++i) h = recomputed ? recompute("layer", layer, {h})[0] : layer({h})[0];
  tape.backward(sum(h));
  return {list(h), list(grad(x)), list(grad(w))};
}

}  // namespace

TEST_CASE("recompute: values and gradients are the same bit for bit") {
  const Outcome plain = run(false, 33), again = run(true, 33);
  CHECK(again.y == plain.y);
  CHECK(again.dx == plain.dx);
  CHECK(again.dw == plain.dw);
}

TEST_CASE("recompute: it takes the memory of one layer instead of all") {
  constexpr int64_t kElements = 1 << 15;
  constexpr size_t kBytes = kElements * sizeof(double);
  const auto peak = [](bool recomputed) {
    host_allocator().reset_peak();
    const size_t before = in_use();
    run(recomputed, kElements);
    return host_allocator().statistics().peak_in_use - before;
  };
  const size_t plain = peak(false), recomputed = peak(true);
  CHECK(plain >= (2 + 4 * 4) * kBytes);  // x, w and four saved tensors a layer
  CHECK(recomputed <= plain - 5 * kBytes);
}

TEST_CASE("recompute: outputs and their gradients are freed before the walk") {
  constexpr int64_t kSize = 1 << 18;
  const Tensor x = requires_grad(zeros({kSize}, DType::f64));
  const Function twice = [](const Tensors& in) -> Tensors { return {sine(sine(in[0]))}; };
  const size_t before = in_use();
  Tape tape;
  Tensors outputs{recompute("twice", twice, {x})};
  Grads gradients{zeros({kSize}, DType::f64)};
  host_allocator().reset_peak();
  tape.backward(std::move(outputs), std::move(gradients));
  // At the second sine: its input, the gradient that arrived, the cosine, their product.
  CHECK(host_allocator().statistics().peak_in_use - before == 4 * x.nbytes());
}

TEST_CASE("recompute: leaves inside get gradients even when no input needs one") {
  const Tensor x = vector_of({2, 3}), w = leaf_of({5, 7});
  Tape tape;
  const auto ys = recompute("inside", [w](const Tensors& in) -> Tensors { return {mul(in[0], w)}; }, {x});
  tape.backward(sum(ys[0]));
  CHECK(list(grad(w)) == Values{2, 3});
  CHECK(!needs_grad(x));
}

TEST_CASE("recompute: it may be nested") {
  const Tensor x = leaf_of({0.3, 0.7}), w = leaf_of({2, 3});
  const Function inner = [w](const Tensors& in) -> Tensors { return {sine(mul(in[0], w))}; };
  const Function outer = [inner](const Tensors& in) -> Tensors {
    return {sine(recompute("inner", inner, {recompute("inner", inner, in)[0]})[0])};
  };
  const auto gradients = [&x, &w](const Function& f, const char* name) {
    zero_grad(x);
    zero_grad(w);
    Tape tape;
    tape.backward(sum(name ? recompute(name, f, {x})[0] : f({x})[0]));
    return std::pair(list(grad(x)), list(grad(w)));
  };
  const auto plain =
      gradients([inner](const Tensors& in) -> Tensors { return {sine(inner({inner(in)[0]})[0])}; }, nullptr);
  CHECK(gradients(outer, "outer") == plain);
  CHECK(Tape::current() == nullptr);
}

TEST_CASE("recompute: a function may return its inputs, one output twice, or a parameter") {
  const Tensor x = leaf_of({2}), plain = vector_of({3}), w = leaf_of({5});
  Tape tape;
  const auto ys = recompute("hand through",
                            [w](const Tensors& in) -> Tensors {
                              const Tensor y = mul(in[0], in[1]);
                              return {in[0], in[1], y, y, w};
                            },
                            {x, plain});
  CHECK(!needs_grad(plain));  // the caller's tensor stays as it was
  CHECK(x.node()->is_leaf());
  Tensor total = scale(ys[0], 10);
  for (int i = 1; i < 5; ++i) total = add(total, ys[i]);
  CHECK(total.item() == 20 + 3 + 6 + 6 + 5);
  tape.backward(total);
  CHECK(list(grad(x)) == Values{10 + 3 + 3});
  CHECK(list(grad(w)) == Values{1});
}

TEST_CASE("recompute: outputs may be unused, inputs without influence, undefined or ids") {
  const Tensor x = leaf_of({2}), idle = leaf_of({1, 1}), ids = zeros({3}, DType::i32);
  Tape tape;
  const auto ys = recompute("mixed",
                            [](const Tensors& in) -> Tensors {
                              REQUIRE(in.size() == 4);
                              CHECK(!in[2].defined());
                              CHECK(in[3].dtype() == DType::i32);
                              return {scale(in[0], 3), mul(in[0], in[0]), in[3]};
                            },
                            {x, idle, Tensor(), ids});
  CHECK(!needs_grad(ys[2]));
  tape.backward(ys[1]);
  CHECK(list(grad(x)) == Values{4});
  CHECK(list(grad(idle)) == Values{0, 0});
}

TEST_CASE("recompute: dropout draws the same mask again from a key captured by value") {
  const Tensor x = leaf_of(Values(64, 1.0));
  uint32_t step = 7;
  Tape tape;
  const Tensor y =
      recompute("dropped", [step](const Tensors& in) -> Tensors { return {drop(in[0], 1, step)}; }, {x})[0];
  ++step;
  tape.backward(sum(y));
  CHECK(list(grad(x)) == list(y));  // both are the mask
  zero_grad(x);
  Tape next;
  next.backward(sum(drop(x, 1, step)));
  CHECK(list(grad(x)) != list(y));
}

TEST_CASE("recompute: without a tape the function runs once") {
  int runs = 0;
  const Function f = [&runs](const Tensors& in) -> Tensors { return {++runs ? scale(in[0], 2) : in[0]}; };
  CHECK(list(recompute("f", f, {leaf_of({1})})[0]) == Values{2});
  CHECK(runs == 1);
  {
    Tape tape;
    tape.backward(recompute("f", f, {leaf_of({1})})[0]);
    CHECK(runs == 3);
  }
  Tape tape;
  const Tensor unused = recompute("f", f, {leaf_of({1})})[0];
  tape.backward(sum(leaf_of({1})));
  CHECK(runs == 4);
}

TEST_CASE("recompute: a function whose number of outputs changes is refused") {
  int runs = 0;
  const Function fickle = [&runs](const Tensors& in) -> Tensors { return Tensors(++runs, scale(in[0], 2)); };
  Tape tape;
  const Tensor y = recompute("fickle", fickle, {leaf_of({1})})[0];
  CHECK(error_of([&] { tape.backward(y); }) ==
        "fickle: recomputation gave 2 outputs, the first time it was 1");
}

TEST_CASE("recompute: check_nan names the operator inside the recomputed function") {
  const auto root = [](const Tensor& x) {
    const Tensor y = zip(x, x, [](double a, double) { return std::sqrt(a); });
    return record("root", y, {x}, [y](const Tensor& dy) -> Grads {
      return {zip(dy, y, [](double d, double r) { return d / (2 * r); })};
    });
  };
  const Function f = [root](const Tensors& in) -> Tensors { return {scale(root(scale(in[0], 1)), 2)}; };
  Tape tape({.check_nan = true});
  CHECK(error_of([&] { recompute("block", f, {leaf_of({-1})}); }) ==
        "root: output 0, f64 (1) on cpu, of entry 1 is not finite, and its inputs are");
  CHECK(Tape::current() == &tape);
  const Tensor y = recompute("block", f, {leaf_of({0})})[0];
  CHECK(
      error_of([&] { tape.backward(y); }) ==
      "block: in its backward pass: root: the gradient of input 0, f64 (1) on cpu, of entry 1 is not finite, and the output's is");
  CHECK(Tape::current() == &tape);
}
