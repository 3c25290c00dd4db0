// What the tape refuses, with the operator and the input named, and the state after an error.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tandem/autograd/tape.h"
#include "tests/support/errors.h"
#include "tests/support/tape_ops.h"

using namespace tandem;
using namespace tape_ops;
using tandem::testing::error_of;
using Values = std::vector<double>;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

// Backward of mul(x, y) replaced by one that returns `gradients`: the error it meets.
std::string error_of_backward(const Grads& gradients) {
  const Tensor x = leaf_of({1, 2}), y = leaf_of({3, 4});
  Tape tape;
  const Tensor z = record("wrong", product(x, y), {x, y}, [gradients](const Tensor&) { return gradients; });
  return error_of([&tape, &z] { tape.backward(sum(z)); });
}

}  // namespace

TEST_CASE("tape: a wrong gradient is refused, with operator and input named") {
  const Tensor right = vector_of({1, 1});
  CHECK(error_of_backward({right, right}) == "no error");
  CHECK(error_of_backward({right}) == "wrong: backward returned 1 gradients for 2 inputs");
  CHECK(error_of_backward({right, right, right}) == "wrong: backward returned 3 gradients for 2 inputs");
  CHECK(error_of_backward({right, Tensor()}) ==
        "wrong: backward returned no gradient for input 1, which needs one");
  CHECK(error_of_backward({right, vector_of({1, 1, 1})}) ==
        "wrong: backward returned f64 (3) on cpu as the gradient of input 1, which is f64 (2) on cpu");
  CHECK(error_of_backward({right.to(DType::f32), right}) ==
        "wrong: backward returned f32 (2) on cpu as the gradient of input 0, which is f64 (2) on cpu");
  CHECK(error_of_backward({right.view_as({2, 1}), right}) ==
        "wrong: backward returned f64 (2, 1) on cpu as the gradient of input 0, which is f64 (2) on cpu");
}

TEST_CASE("tape: a gradient for an input that needs none may be anything") {
  const Tensor x = leaf_of({1, 2}), ids = zeros({5}, DType::i32);
  Tape tape;
  const Tensor y = record("lookup", x.detach().clone(), {x, ids}, [](const Tensor& dy) -> Grads {
    return {dy, Tensor()};
  });
  tape.backward(sum(y));
  CHECK(list(grad(x)) == Values{1, 1});
}

TEST_CASE("tape: backward refuses a loss that it did not record") {
  const Tensor x = leaf_of({1, 2});
  Tape tape;
  const Tensor y = scale(x, 2);
  CHECK(error_of([&] { tape.backward(y); }) ==
        "backward: needs a loss of one element, got f64 (2) on cpu; reduce it "
        "with sum() or mean(), or give the gradient that flows into it");
  const std::string elsewhere =
      "backward: output 0, f64 () on cpu, was not recorded on this tape: nothing "
      "that needs a gradient led to it, or another tape was current";
  CHECK(error_of([&] { tape.backward(full({}, 1, DType::f64)); }) == elsewhere);
  {
    Tape inner;
    const Tensor loss = sum(x);
    CHECK(error_of([&] { tape.backward(loss); }) == elsewhere);
  }
  CHECK(error_of([&] { tape.backward(Tensor()); }) != "no error");
  CHECK(error_of([&] { tape.backward({y}, {}); }) == "backward: 1 outputs but 0 gradients");
  CHECK(error_of([&] {
          tape.backward({y, y}, {vector_of({1, 1}), vector_of({1})});
        }) == "backward: output 1 is f64 (2) on cpu, its gradient f64 (1) on cpu");
  tape.backward(sum(y));  // nothing above has left a trace
  CHECK(list(grad(x)) == Values{2, 2});
}

TEST_CASE("tape: a leaf may be the loss") {
  const Tensor x = leaf_of({1});
  Tape tape;
  tape.backward(x);
  CHECK(list(grad(x)) == Values{1});
}

TEST_CASE("tape: a spent one refuses a second backward and recording") {
  const Tensor x = leaf_of({1});
  Tape tape;
  const Tensor loss = sum(x);
  tape.backward(loss);
  CHECK(error_of([&] { tape.backward(loss); }) ==
        "backward: this tape is spent: its entries were freed as the first "
        "backward pass went; run the forward pass again under a new Tape");
  CHECK(error_of([&] { scale(x, 2); }) ==
        "scale: recorded on a tape whose backward pass is over; make a new Tape for every pass");
  CHECK(list(grad(x)) == Values{1});
}

TEST_CASE("tape: an input recorded on an outer tape, or on one that is gone, is refused") {
  const Tensor x = leaf_of({1});
  const std::string message =
      "mul: input 1, f64 (1) on cpu, was recorded on another tape (an outer one, "
      "or one that is spent); detach() it to carry only its value over";
  Tensor y;
  {
    Tape outer;
    y = scale(x, 2);
    Tape inner;
    CHECK(error_of([&] { mul(x, y); }) == message);
    CHECK(inner.size() == 0);
  }
  Tape next;
  CHECK(error_of([&] { mul(x, y); }) == message);
  CHECK(needs_grad(mul(x, y.detach())));
}

TEST_CASE("tape: an output must be new") {
  const Tensor x = leaf_of({1}), plain = vector_of({1});
  const auto back = [](const Tensor& dy) -> Grads { return {dy}; };
  const auto back_many = [](const Grads& dys) -> Grads { return {dys[0]}; };
  Tape tape;
  CHECK(error_of([&] { record("same", x, {x}, back); }) ==
        "same: output 0, f64 (1) on cpu, already has a history; return a new tensor (detach() makes one)");
  CHECK(error_of([&] {
          record("twice", {plain, plain}, {x}, back_many);
        }) == "twice: outputs 0 and 1 are one tensor; detach() makes two");
  CHECK(error_of([&] {
          record("none", {plain, Tensor()}, {x}, back_many);
        }) == "none: output 1 is undefined; an operator records what it made");
  CHECK(!needs_grad(plain));  // a refused entry marks nothing
  CHECK(tape.size() == 0);
}

TEST_CASE("tape: an operator without a name or a backward function is refused") {
  const Tensor x = leaf_of({1});
  const auto back = [](const Tensor& dy) -> Grads { return {dy}; };
  Tape tape;
  CHECK(error_of([&] { record(nullptr, x.detach().clone(), {x}, back); }) ==
        "record: the operator  has no name");
  CHECK(error_of([&] { record("mine", x.detach().clone(), {x}, Backward()); }) ==
        "record: the operator mine has no backward function");
  CHECK(error_of([&] { record("mine", std::vector<Tensor>{x.detach().clone()}, {x}, BackwardMany()); }) ==
        "record: the operator mine has no backward function");
  CHECK(tape.size() == 0);
}

TEST_CASE("tape: what a backward function throws names its operator and keeps its type") {
  const Tensor x = leaf_of({1});
  const auto message_of = [&x](auto error) {
    Tape tape;
    const Tensor y =
        record("fails", x.detach().clone(), {x}, [error](const Tensor&) -> Grads { throw error; });
    try {
      tape.backward(y);
    } catch (const decltype(error)& thrown) {
      return std::string(thrown.what());
    }
    return std::string("another type, or nothing");
  };
  CHECK(message_of(Error("out of luck")) == "fails: in its backward pass: out of luck");
  CHECK(message_of(Error("fails: bad shape")) == "fails: bad shape");
  CHECK(message_of(OutOfMemory("no memory")) == "fails: in its backward pass: no memory");
}

TEST_CASE("tape: an exception during backward leaves the thread usable") {
  const Tensor x = leaf_of({1});
  {
    Tape tape;
    const Tensor y =
        record("fails", x.detach().clone(), {x}, [](const Tensor&) -> Grads { throw Error("out of luck"); });
    const Tensor loss = sum(y);
    CHECK(error_of([&] { tape.backward(loss); }) == "fails: in its backward pass: out of luck");
    CHECK(Tape::current() == &tape);
    CHECK(tape.spent());
    CHECK(error_of([&] { tape.backward(loss); }).starts_with("backward: this tape is spent"));
  }
  CHECK(Tape::current() == nullptr);
  CHECK(!grad(x).defined());
  Tape tape;
  tape.backward(sum(scale(x, 2)));
  CHECK(list(grad(x)) == Values{2});
}

TEST_CASE("tape: check_nan names the first operator whose output is not finite") {
  const auto root = [](const Tensor& x) {
    const Tensor y = zip(x, x, [](double a, double) { return std::sqrt(a); });
    return record("root", y, {x}, [y](const Tensor& dy) -> Grads {
      return {zip(dy, y, [](double d, double r) { return d / (2 * r); })};
    });
  };
  const Tensor x = leaf_of({4, -1});
  {
    Tape tape({.check_nan = true});
    const Tensor t = scale(x, 1);
    CHECK(error_of([&] { scale(root(t), 2); }) ==
          "root: output 0, f64 (2) on cpu, of entry 1 is not finite, and its inputs are");
  }
  {
    Tape tape;
    CHECK(error_of([&] { tape.backward(sum(root(x))); }) == "no error");  // not asked for
  }
  {
    Tape tape({.check_nan = true});
    CHECK(error_of([&] {
            mul(x, vector_of({1, kInf}));
          }) == "mul: input 1, f64 (2) on cpu, of entry 0 is not finite");
  }
  SUBCASE("or whose gradient is not") {
    const Tensor zero = leaf_of({4, 0});
    Tape tape({.check_nan = true});
    const Tensor loss = sum(scale(root(scale(zero, 1)), 3));
    CHECK(error_of([&] { tape.backward(loss); }) ==
          "root: the gradient of input 0, f64 (2) on cpu, of entry 1 is not finite, and the output's is");
  }
  SUBCASE("or that the caller's gradient is not") {
    Tape tape({.check_nan = true});
    CHECK(error_of([&] {
            tape.backward({scale(x, 1)}, {vector_of({kInf, 1})});
          }) == "backward: the gradient given for output 0, f64 (2) on cpu, is not finite");
  }
}
