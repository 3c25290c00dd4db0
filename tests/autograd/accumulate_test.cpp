// Adding to a parameter's gradient in place.
#include "tandem/autograd/accumulate.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tests/support/tape_ops.h"

using namespace tandem;
using namespace tape_ops;

namespace {

// y = sum(w * x), whose backward adds to the gradient of w in place, as operators with parameters do.
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

TEST_CASE("grad_target: it adds in place, to a parameter used twice in one graph too") {
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

TEST_CASE("grad_target: a gradient added in place and one returned as a new tensor are summed") {
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

TEST_CASE("grad_target: for a result of an operator it is memory to overwrite") {
  Tape tape;
  const Tensor x = scale(leaf_of({1, 2}), 2);
  const GradTarget target = grad_target(x);
  CHECK(!target.accumulate);
  CHECK(target.grad.shape() == x.shape());
  CHECK(target.grad.dtype() == x.dtype());
  CHECK(target.grad.raw() != x.raw());
}

TEST_CASE("grad_target: it is undefined for a tensor that needs no gradient") {
  for (const Tensor& x : {vector_of({1, 2}), Tensor()}) {
    const GradTarget target = grad_target(x);
    CHECK(!target.grad.defined());
    CHECK(!target.accumulate);
  }
}
