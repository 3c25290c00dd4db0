// The table of signatures: what the public functions of ops/ take. ops/misuse_test.cpp makes wrong calls from it, with
// undefined tensors, other dtypes, other shapes, empty tensors and other numbers, each under a tape and without one, and
// holds every function to this: no call ends the process, and each is either right or refused by a tandem::Error that names
// the function and the argument.
//
// A test file adds a row for each function with SIGNATURES(name), before main() runs:
//
//     SIGNATURES(linear) {
//       add_signature({.op = "linear",
//                      .function = "linear",
//                      .sizes = {3, 2, 5},
//                      .tensors = [](const Sizes& n) -> TensorArguments {
//                        return {{"x", {n[0], n[1]}}, {"weight", {n[2], n[1]}}, {"bias", {n[2]}, DType::f32, true}};
//                      },
//                      .call = [](const Tensors& x, const Numbers&) -> Tensors { return {linear(x[0], x[1], x[2])}; }});
//     }
//
// An operator without a row, or a function in its header without one, fails the first tests of ops/misuse_test.cpp.
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem::testing {

using Tensors = std::vector<Tensor>;
using Sizes = std::vector<int64_t>;
using Numbers = std::vector<double>;

struct TensorArgument {
  std::string name;  // as messages give it
  Shape shape;
  DType dtype = DType::f32;  // integers are zeros, so that they are ids of any table
  bool optional = false;     // may be undefined
};
using TensorArguments = std::vector<TensorArgument>;

struct NumberArgument {
  std::string name;
  double right = 0;
  std::vector<double> others = {};  // to be tried, right or wrong
};

struct Signature {
  std::string op;         // name of the file in ops/
  std::string function;   // name of the function
  std::string says = "";  // the name that begins its messages, if that is another
  Sizes sizes =
      {};  // sizes from which the shapes are made, such as {T, B, D}; each is set to 0 and to 1, too
  std::function<TensorArguments(const Sizes&)> tensors = {};
  std::function<Tensors(const Tensors&, const Numbers&)> call = {};  // returns the results
  std::vector<NumberArgument> numbers = {};
};

inline std::vector<Signature>& signatures() {
  static std::vector<Signature> all;
  return all;
}

inline void add_signature(Signature signature) {
  signatures().push_back(std::move(signature));
}

// Adds a row for a function of one tensor x (2, 3) and of numbers.
inline void add_unary_signature(const std::string& op, const std::string& function,
                                std::function<Tensor(const Tensor&, const Numbers&)> f,
                                std::vector<NumberArgument> numbers = {}, const std::string& says = "") {
  add_signature({.op = op,
                 .function = function,
                 .says = says,
                 .sizes = {2, 3},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"x", {n[0], n[1]}}};
                 },
                 .call = [f](const Tensors& x, const Numbers& n) -> Tensors { return {f(x[0], n)}; },
                 .numbers = std::move(numbers)});
}

}  // namespace tandem::testing

// Fills the table before main(). Use once for each name.
#define SIGNATURES(name)                                                                            \
  static void signatures_of_##name();                                                               \
  [[maybe_unused]] static const bool signatures_of_##name##_added = (signatures_of_##name(), true); \
  static void signatures_of_##name()
