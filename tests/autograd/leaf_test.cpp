// Leaves: marking them, reading and clearing their gradients.
#include "tandem/autograd/leaf.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tests/support/errors.h"
#include "tests/support/tape_ops.h"

using namespace tandem;
using namespace tape_ops;
using tandem::testing::error_of;

TEST_CASE("leaf: it is marked once, on the tensor and not on its values") {
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

TEST_CASE("leaf: a tensor that cannot be one is refused") {
  CHECK(error_of([] { requires_grad(Tensor({2}, DType::i32)); }) ==
        "requires_grad: x is i32 (2) on cpu, which has no gradient; use a floating dtype");
  Tape tape;
  const Tensor y = scale(leaf_of({1}), 2);
  CHECK(
      error_of([&y] { requires_grad(y); }) ==
      "requires_grad: x, f64 (1) on cpu, is the result of a recorded operator; detach() it to make a leaf of it");
  CHECK(error_of([&y] { grad(y); }) ==
        "grad: leaf, f64 (1) on cpu, is not a leaf; call requires_grad() on it first");
  CHECK(error_of([&y] { zero_grad(y); }) ==
        "zero_grad: leaf, f64 (1) on cpu, is not a leaf; call requires_grad() on it first");
  CHECK(error_of([] { grad(Tensor()); }).starts_with("grad: leaf is an undefined tensor"));
  CHECK(error_of([] { zero_grad(Tensor()); }).starts_with("zero_grad: leaf is an undefined tensor"));
  CHECK(error_of([] { grad(vector_of({1})); }).starts_with("grad: leaf, f64 (1) on cpu, is not a leaf"));
}

TEST_CASE("leaf: two passes add up; zero_grad of one leaf keeps the others") {
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

TEST_CASE("leaf: its gradient shares memory with no tensor of the user") {
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
