// Helpers of the checks of the exercises. A check is a file of its own:
//
//     EXERCISE(01) {
//       expect(mean_square(x).item() == 4, "the mean of {1, 3, ...} should be 4");
//     }
//
// It ends at the first expectation that does not hold, and the hint is what the student reads.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "tandem/core/tensor.h"

namespace exercises {

using tandem::Tensor;
using Function = std::function<Tensor(const std::vector<Tensor>& inputs)>;

// Ends the check with this hint if `right` is false.
void expect(bool right, const std::string& hint);

// Returns an f64 leaf with uniform values in [low, high), which differ for every seed.
Tensor leaf(tandem::Shape shape, uint64_t seed, double low = -1, double high = 1);

// Returns "1.25", with four digits.
std::string text_of(double number);

// Returns true if |a - b| is at most 1e-9, relative to b where |b| > 1. NaN is close to nothing.
bool is_close(double a, double b);
// Returns true if both have one shape and all their elements are close. Both are f64.
bool is_close(const Tensor& a, const Tensor& b);
// Returns true if every element is finite. x is f64.
bool is_finite(const Tensor& x);

// The gradients that backward gives to each input for the loss sum(f(inputs) * projection), with fixed random numbers in
// `projection`. An input that gets no gradient has an undefined one.
std::vector<Tensor> gradients(const Function& f, const std::vector<Tensor>& inputs);
// The same gradients from central differences of f, element by element: what gradcheck() compares with.
std::vector<Tensor> differences(const Function& f, const std::vector<Tensor>& inputs);

// Compares the two for every input. The hint names the input by `names` and the first element that is wrong.
void expect_gradients(const Function& f, const std::vector<Tensor>& inputs,
                      const std::vector<std::string>& names);

// Adds a check to the program; true, for a static variable. `number` must outlive the program (a literal).
bool add_exercise(const char* number, void (*check)());

}  // namespace exercises

#define EXERCISE(number)                                                               \
  static void check_##number();                                                        \
  static const bool added_##number = exercises::add_exercise(#number, check_##number); \
  static void check_##number()
