// Finding the tensors that a function object captured, for Tape::dump().
#pragma once
#include <functional>
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem {

// Runs f() and returns the defined tensors that it copies on this thread. C++ cannot list what a lambda captured, but
// copying the lambda copies its captures: a copy made in f() shows them.
std::vector<Tensor> copied_tensors(const std::function<void()>& f);

}  // namespace tandem
