// Recomputation: trade a second forward pass for the memory of what the first one would have saved.
#pragma once
#include <functional>
#include <vector>

#include "autograd/tape.h"

namespace tandem {

using Function = std::function<std::vector<Tensor>(const std::vector<Tensor>& inputs)>;

// Runs f(inputs) and records it as one entry that keeps the inputs alone. Backward runs f again on a nested
// tape and goes back through that. Gradients reach the inputs and every leaf that f uses. f must give the
// same values both times: capture dropout keys and states by value. An undefined input stays undefined.
std::vector<Tensor> recompute(const char* name, Function f, const std::vector<Tensor>& inputs);

}  // namespace tandem
