// Checks of a function's tensor arguments, with one wording for all: the message names the function and the argument.
//
//     check_defined("linear", {{"x", x}, {"weight", weight}});
#pragma once
#include <initializer_list>

#include "tandem/core/tensor.h"

namespace tandem {

// A tensor, with the name that the function's header gives it.
struct Argument {
  const char* name;
  const Tensor& value;
};

// Error: an argument is undefined.
void check_defined(const char* function, std::initializer_list<Argument> arguments);

// Error: an argument is undefined, or is not of a dtype that kernels compute in: f32 or f64, and on a GPU bf16 too.
void check_floating(const char* function, std::initializer_list<Argument> arguments);

// Returns the index 0 .. rank - 1 of an axis, of which -1 is the last. Error: x is undefined or has no such axis.
int check_axis(const char* function, const Argument& x, int axis);

}  // namespace tandem
