// Reverse-mode differentiation of single numbers on one page: what tape.h does for tensors, without checks and nesting.
// It is for reading, and section 0 of the tutorial (README.md); the library does not use it.
#pragma once
#include <cmath>
#include <functional>
#include <memory>
#include <vector>

namespace tandem::tiny {

// A number and the derivative of the loss with respect to it. Copies of a Value share both.
class Value {
 public:
  Value(double value) : node_(new Node{value, 0}) {}

  double value() const { return node_->value; }
  double& grad() const { return node_->grad; }

 private:
  struct Node {
    double value, grad;
  };
  std::shared_ptr<Node> node_;
};

// The tape of this thread: for each operation a function that goes back through it, in the order in which they ran.
inline std::vector<std::function<void()>>& tape() {
  thread_local std::vector<std::function<void()>> steps;
  return steps;
}

// Returns y as a Value, and notes how to go back: given dy, `back` adds to the gradients of the operation's inputs.
inline Value record(double y, const std::function<void(double dy)>& back) {
  const Value result = y;
  tape().push_back([result, back] { back(result.grad()); });
  return result;
}

inline Value operator+(const Value& a, const Value& b) {
  return record(a.value() + b.value(), [a, b](double dy) {
    a.grad() += dy;
    b.grad() += dy;
  });
}
inline Value operator*(const Value& a, const Value& b) {
  return record(a.value() * b.value(), [a, b](double dy) {
    a.grad() += dy * b.value();
    b.grad() += dy * a.value();
  });
}
inline Value operator-(const Value& a, const Value& b) {
  return a + b * -1.0;
}
inline Value exp(const Value& x) {
  const double y = std::exp(x.value());
  return record(y, [x, y](double dy) { x.grad() += dy * y; });
}
inline Value log(const Value& x) {
  return record(std::log(x.value()), [x](double dy) { x.grad() += dy / x.value(); });
}
inline Value tanh(const Value& x) {
  const double y = std::tanh(x.value());
  return record(y, [x, y](double dy) { x.grad() += dy * (1 - y * y); });
}

// Adds d(loss)/d(x) to the gradient of every x that loss was computed from, and empties the tape.
inline void backward(const Value& loss) {
  loss.grad() = 1;
  for (; !tape().empty(); tape().pop_back()) tape().back()();
}

}  // namespace tandem::tiny
