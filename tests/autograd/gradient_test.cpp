// Leaves: marking them, reading, clearing and adding to their gradients.
#include "autograd/gradient.h"

#include <doctest/doctest.h>

#include "autograd/tape.h"
#include "tests/support/errors.h"
#include "tests/support/tape_ops.h"

using namespace tandem;
using namespace tape_ops;
using tandem::testing::error_of;

namespace {

// y = sum(w * x) whose backward adds to the gradient of w in place, as the operators with parameters do.
Tensor weigh(const Tensor& w, const Tensor& x, std::vector<bool>& accumulated) {
  return record("weigh", sum(product(w, x)), {w}, [w, x, &accumulated](const Tensor& dy) -> Grads {
    const GradTarget target = grad_target(w);
    accumulated.push_back(target.accumulate);
    double* dw = target.grad.data<double>();
    for (int64_t i = 0; i < w.numel(); ++i)
      dw[i] = dy.item() * x.data<double>()[i] + (target.accumulate ? dw[i] : 0.0);
    return {target.grad};
  });
}

}  // namespace

TEST_CASE("a leaf is marked once, on the tensor and not on its values") {
  const Tensor x = vector_of({1, 2});
  CHECK(!needs_grad(x));
  CHECK(!needs_grad(Tensor()));
  const Tensor same = requires_grad(x);
  CHECK(same.same_as(x));
  CHECK(needs_grad(x));
  const auto node = x.node();
  requires_grad(x);
  CHECK(x.node() == node);  // a second call keeps the gradient it has
  CHECK(!needs_grad(x.detach()));
  CHECK(!needs_grad(x.clone()));
  CHECK(!needs_grad(x.view_rows(0, 1)));
  CHECK(!grad(x).defined());
}

TEST_CASE("what cannot be a leaf is refused") {
  CHECK(error_of([] { requires_grad(Tensor({2}, DType::i32)); }) ==
        "requires_grad: i32 (2) on cpu has no gradient; use a floating dtype");
  Tape tape;
  const Tensor y = scale(leaf_of({1}), 2);
  CHECK(
      error_of([&y] { requires_grad(y); }) ==
      "requires_grad: f64 (1) on cpu is the result of a recorded operator; detach() it to make a leaf of it");
  CHECK(error_of([&y] { grad(y); }) ==
        "grad: f64 (1) on cpu is not a leaf; call requires_grad() on it first");
  CHECK(error_of([&y] { zero_grad(y); }) ==
        "zero_grad: f64 (1) on cpu is not a leaf; call requires_grad() on it first");
  CHECK(error_of([] { grad(vector_of({1})); }).starts_with("grad: f64 (1) on cpu is not a leaf"));
}

TEST_CASE("two passes add up in a leaf; zero_grad of one leaf keeps the others") {
  const Tensor a = leaf_of({1, 2}), b = leaf_of({3, 5});
  for (int pass = 0; pass < 2; ++pass) {
    Tape tape;
    tape.backward(sum(mul(a, b)));
  }
  CHECK(list(grad(a)) == std::vector<double>{6, 10});
  CHECK(list(grad(b)) == std::vector<double>{2, 4});
  zero_grad(a);
  CHECK(!grad(a).defined());
  CHECK(list(grad(b)) == std::vector<double>{2, 4});
  Tape tape;
  tape.backward(sum(mul(a, b)));
  CHECK(list(grad(a)) == std::vector<double>{3, 5});
  CHECK(list(grad(b)) == std::vector<double>{3, 6});
}

TEST_CASE("grad_target adds in place, to a parameter used twice in one graph too") {
  const Tensor w = leaf_of({1, 1});
  std::vector<bool> accumulated;
  void* memory = nullptr;
  for (int pass = 0; pass < 2; ++pass) {
    Tape tape;
    const Tensor loss =
        add(weigh(w, vector_of({1, 2}), accumulated), weigh(w, vector_of({10, 20}), accumulated));
    tape.backward(loss);
    if (pass == 0) memory = grad(w).raw();
    CHECK(grad(w).raw() == memory);
    CHECK(list(grad(w)) == (pass == 0 ? std::vector<double>{11, 22} : std::vector<double>{22, 44}));
  }
  CHECK(accumulated == std::vector<bool>{false, true, true, true});
}

TEST_CASE("grad_target and a gradient that is returned anew meet in one sum") {
  const Tensor w = leaf_of({2, 3});
  std::vector<bool> accumulated;
  Tape tape;
  Tensor in_place, anew;
  SUBCASE("in place first") {
    anew = sum(mul(w, w));
    in_place = weigh(w, vector_of({1, 10}), accumulated);
  }
  SUBCASE("in place last") {
    in_place = weigh(w, vector_of({1, 10}), accumulated);
    anew = sum(mul(w, w));
  }
  tape.backward(add(in_place, anew));
  CHECK(list(grad(w)) == std::vector<double>{5, 16});
  CHECK(accumulated.size() == 1);
}

TEST_CASE("grad_target of what is no leaf is memory to overwrite") {
  const Tensor plain = vector_of({1, 2});
  Tape tape;
  for (const Tensor& x : {plain, scale(leaf_of({1, 2}), 2)}) {
    const GradTarget target = grad_target(x);
    CHECK(!target.accumulate);
    CHECK(target.grad.shape() == x.shape());
    CHECK(target.grad.dtype() == x.dtype());
    CHECK(target.grad.raw() != x.raw());
  }
}

TEST_CASE("a leaf's gradient is its own: it shares memory with no tensor of the user") {
  const Tensor x = leaf_of({1, 2});
  const Tensor dy = vector_of({3, 4});
  {
    Tape tape;
    tape.backward({add(x, vector_of({0, 0}))}, {dy});
  }
  CHECK(grad(x).raw() != dy.raw());
  Tape tape;
  tape.backward({add(x, vector_of({0, 0}))}, {dy});
  CHECK(list(grad(x)) == std::vector<double>{6, 8});
  CHECK(list(dy) == std::vector<double>{3, 4});
}
