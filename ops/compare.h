// compare: equal, not_equal, greater, less_equal, ... as tensors of 0 and 1, and where, which chooses by them.
#pragma once
#include <type_traits>

#include "tandem/core/macros.h"
#include "tandem/core/tensor.h"

namespace tandem {

enum class Comparison { equal, not_equal, greater, greater_equal, less, less_equal };

// Compares two tensors of one dtype, which may be any, element by element: 1 in a's dtype where it holds, else 0. b may
// have the last axes of a only, and is then repeated over the others. NaN is not equal to anything. There is no gradient.
// Error: a or b is undefined; shapes, dtypes or devices differ.
Tensor compare(const Tensor& a, const Tensor& b, Comparison kind);
// Compares every element with a number, which is first rounded to a's dtype if that is floating: equal(x, 0.1) holds for
// an f32 x of 0.1f. Error: a is undefined.
Tensor compare(const Tensor& a, double number, Comparison kind);

// B is a Tensor or a number.
template <class B>
Tensor equal(const Tensor& a, const B& b) {
  return compare(a, b, Comparison::equal);
}
template <class B>
Tensor not_equal(const Tensor& a, const B& b) {
  return compare(a, b, Comparison::not_equal);
}
template <class B>
Tensor greater(const Tensor& a, const B& b) {
  return compare(a, b, Comparison::greater);
}
template <class B>
Tensor greater_equal(const Tensor& a, const B& b) {
  return compare(a, b, Comparison::greater_equal);
}
template <class B>
Tensor less(const Tensor& a, const B& b) {
  return compare(a, b, Comparison::less);
}
template <class B>
Tensor less_equal(const Tensor& a, const B& b) {
  return compare(a, b, Comparison::less_equal);
}

// Returns a where `condition` is not 0, else b, or the number b. All have one shape; the condition may have any dtype. The
// gradient of an element goes to the one that was chosen.
// Error: shapes, dtypes of a and b, or devices differ; a or b is not floating.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
Tensor where(const Tensor& condition, const Tensor& a, double b);

// The type in which elements are compared with a number: their own if they are floating, else f64, so that
// greater(ids, 2.5) compares with 2.5.
template <class T>
using WithNumber = std::conditional_t<std::is_integral_v<T>, double, T>;

// Compares two elements, for the CPU loop and the CUDA kernel.
template <class C>
TANDEM_HD TANDEM_INLINE bool comparison_value(Comparison kind, C a, C b) {
  switch (kind) {
    case Comparison::equal:
      return a == b;
    case Comparison::not_equal:
      return a != b;
    case Comparison::greater:
      return a > b;
    case Comparison::greater_equal:
      return a >= b;
    case Comparison::less:
      return a < b;
    case Comparison::less_equal:
      return a <= b;
  }
  return false;
}

namespace cpu {
// y = a (kind) b, with the elements of b repeated as often as they fit into a. If b is undefined, it is `number`.
void compare(const Tensor& y, const Tensor& a, const Tensor& b, double number, Comparison kind);
// y = a where condition is not 0, else b. An undefined a or b stands for `number`.
void select(const Tensor& y, const Tensor& condition, const Tensor& a, const Tensor& b, double number);
}  // namespace cpu

namespace cuda {
void compare(const Tensor& y, const Tensor& a, const Tensor& b, double number, Comparison kind);
void select(const Tensor& y, const Tensor& condition, const Tensor& a, const Tensor& b, double number);
}  // namespace cuda

}  // namespace tandem
