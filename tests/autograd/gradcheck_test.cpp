// gradcheck: correct operators pass, and mistakes fail that a plain sum of the outputs would not show.
#include "tandem/autograd/gradcheck.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tests/support/errors.h"
#include "tests/support/tape_ops.h"

using namespace tandem;
using namespace tape_ops;
using tandem::testing::error_of;
using Tensors = std::vector<Tensor>;

namespace {

// Softmax of a vector; `factor` and `with_sum` spoil its backward, dx = y * (dy - sum(dy * y)).
Tensor softmax(const Tensor& x, double factor = 1, bool with_sum = true) {
  Tensor y = zip(x, x, [](double a, double) { return std::exp(a); });
  const double total = sum(y).item();
  for (double& value : y.span<double>()) value /= total;
  return record("softmax", y, {x}, [y, factor, with_sum](const Tensor& dy) -> Grads {
    const double dot = with_sum ? sum(product(dy, y)).item() : 0;
    Tensor dx = empty_like(y);
    for (int64_t i = 0; i < y.numel(); ++i)
      dx.data<double>()[i] = factor * y.data<double>()[i] * (dy.data<double>()[i] - dot);
    return {dx};
  });
}

// y_i = x_(i + shift); backward shifts by -shift. With the same shift in both directions the Jacobian is transposed.
Tensor shifted(const Tensor& x, int64_t shift) {
  const int64_t n = x.numel();
  Tensor y = empty_like(x);
  for (int64_t i = 0; i < n; ++i) y.data<double>()[i] = x.data<double>()[(i + shift + n) % n];
  return y;
}
Tensor roll(const Tensor& x, int64_t back = -1) {
  return record("roll", shifted(x, 1), {x},
                [back](const Tensor& dy) -> Grads { return {shifted(dy, back)}; });
}

Tensor input() {
  return vector_of({0.3, -1.2, 0.8, 2.0, -0.5});
}

}  // namespace

TEST_CASE("gradcheck: correct operators pass, with an error far below the tolerance") {
  const auto all = [](const Tensors& in) -> Tensors {
    return {mul(softmax(in[0]), roll(in[1])), add(in[0], in[1])};
  };
  const GradcheckResult result = gradcheck(all, {input(), vector_of({1, 2, 3, 4, 5})});
  CHECK(result.ok);
  CHECK(result.max_error < 1e-8);
  CHECK(result.max_error > 0);
}

TEST_CASE("gradcheck: a function that returns its input passes") {
  CHECK(gradcheck([](const Tensors& in) -> Tensors { return {in[0]}; }, {input()}).ok);
  CHECK(gradcheck([](const Tensors& in) -> Tensors { return {in[0], mul(in[0], in[0])}; }, {input()}).ok);
}

TEST_CASE("gradcheck: a softmax wrong by a factor 3 fails, though a sum would pass it") {
  const auto wrong = [](const Tensors& in) -> Tensors { return {softmax(in[0], 3)}; };
  const GradcheckResult result = gradcheck(wrong, {input()});
  CHECK(!result.ok);
  CHECK(result.max_error > 1e-2);
  CHECK(result.message.starts_with("input 0, f64 (5) on cpu, element "));
  CHECK(result.message.find("backward says ") != std::string::npos);
  const auto summed = [wrong](const Tensors& in) -> Tensors { return {sum(wrong(in)[0])}; };
  CHECK(gradcheck(summed, {input()}).ok);
}

TEST_CASE("gradcheck: a transposed Jacobian fails, though a sum would pass it") {
  const auto wrong = [](const Tensors& in) -> Tensors { return {roll(in[0], 1)}; };
  const GradcheckResult result = gradcheck(wrong, {input()});
  CHECK(!result.ok);
  CHECK(result.message != "");
  const auto summed = [wrong](const Tensors& in) -> Tensors { return {sum(wrong(in)[0])}; };
  CHECK(gradcheck(summed, {input()}).ok);
}

TEST_CASE("gradcheck: a missing term fails, and so does a path that is not recorded") {
  CHECK(!gradcheck([](const Tensors& in) -> Tensors { return {softmax(in[0], 1, false)}; }, {input()}).ok);
  CHECK(!gradcheck([](const Tensors& in) -> Tensors { return {mul(in[0], in[0].detach())}; }, {input()}).ok);
  const auto partly = [](const Tensors& in) -> Tensors { return {scale(in[0], 2), product(in[0], in[0])}; };
  CHECK(!gradcheck(partly, {input()}).ok);  // the second output depends on the input without a gradient
}

TEST_CASE("gradcheck: a NaN fails, whichever element holds it") {
  const auto bad = [](const Tensors& in) -> Tensors {
    return {record("bad", in[0].detach().clone(), {in[0]}, [](const Tensor& dy) -> Grads {
      const Tensor dx = dy.clone();
      dx.data<double>()[3] = std::numeric_limits<double>::quiet_NaN();
      return {dx};
    })};
  };
  const GradcheckResult result = gradcheck(bad, {input()});
  CHECK(!result.ok);
  CHECK(result.message.starts_with("input 0, f64 (5) on cpu, element 3: backward says nan"));
}

TEST_CASE("gradcheck: only f64 inputs are checked, and the caller's tensors are not changed") {
  const Tensor x = input(), ids = tensor_of<int32_t>({2}, std::vector<int32_t>{4, 1});
  const auto take = [](const Tensors& in) -> Tensors {
    CHECK(!in[2].defined());
    const std::vector<int32_t> rows = in[1].to_vector<int32_t>();
    Tensor y({2}, DType::f64);
    for (int i = 0; i < 2; ++i) y.data<double>()[i] = in[0].data<double>()[rows[i]];
    return {record("take", y, {in[0]}, [x = in[0], rows](const Tensor& dy) -> Grads {
      Tensor dx = zeros_like(x);
      for (int i = 0; i < 2; ++i) dx.data<double>()[rows[i]] += dy.data<double>()[i];
      return {dx};
    })};
  };
  CHECK(gradcheck(take, {x, ids, Tensor()}).ok);
  CHECK(!needs_grad(x));
  CHECK(list(x) == list(input()));
}

TEST_CASE("gradcheck: a pass that writes into an input fails, and the input is named") {
  const auto in_backward = [](const Tensors& in) -> Tensors {
    return {record("mine", in[0].detach().clone(), {in[0]}, [x = in[0]](const Tensor& dy) -> Grads {
      x.data<double>()[1] += 1;  // the gradient is right, but x is still the caller's
      return {dy.clone()};
    })};
  };
  const GradcheckResult result = gradcheck(in_backward, {input()});
  CHECK(!result.ok);
  CHECK(result.message == "input 0, f64 (5) on cpu, was changed by the backward pass");
  const auto in_forward = [](const Tensors& in) -> Tensors {
    in[1].data<int32_t>()[0] = 7;
    return {scale(in[0], 1)};
  };
  const GradcheckResult ids =
      gradcheck(in_forward, {input(), tensor_of<int32_t>({1}, std::vector<int32_t>{4})});
  CHECK(!ids.ok);
  CHECK(ids.message == "input 1, i32 (1) on cpu, was changed by the forward pass");
}

TEST_CASE("gradcheck: options set the tolerance and a number of elements spread over the input") {
  const auto wrong_last = [](const Tensors& in) -> Tensors {
    return {record("last", in[0].detach().clone(), {in[0]}, [](const Tensor& dy) -> Grads {
      const Tensor dx = dy.clone();
      dx.data<double>()[4] *= 1.001;
      return {dx};
    })};
  };
  CHECK(!gradcheck(wrong_last, {input()}).ok);
  CHECK(gradcheck(wrong_last, {input()}, {.tolerance = 1e-2}).ok);
  CHECK(gradcheck(wrong_last, {input()}, {.max_elements = 4}).ok);  // elements 0, 1, 2, 3
  CHECK(!gradcheck(wrong_last, {input()}, {.max_elements = 9}).ok);
}

TEST_CASE("gradcheck: a function that cannot be checked is an error") {
  const auto same = [](const Tensors& in) -> Tensors { return {scale(in[0], 1)}; };
  CHECK(error_of([&] { gradcheck(same, {input().to(DType::f32)}); }) ==
        "gradcheck: none of the 1 inputs is f64; central differences need f64");
  const auto cut = [](const Tensors& in) -> Tensors { return {in[0].detach().clone()}; };
  CHECK(error_of([&] { gradcheck(cut, {input()}); }) ==
        "gradcheck: no f64 output of the 1 was recorded on the tape");
}
