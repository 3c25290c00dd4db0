// Recomputation (gradient checkpointing): a second forward pass in place of the memory for saved tensors.
#pragma once
#include <functional>
#include <vector>

#include "tandem/autograd/tape.h"

namespace tandem {

using Function = std::function<std::vector<Tensor>(const std::vector<Tensor>& inputs)>;

// Runs f(inputs) and records it as one entry that keeps only the inputs. Backward runs f again on a nested tape and
// goes back through that. Gradients reach the inputs and every leaf that f uses. f must return the same values both
// times: capture dropout keys and states by value. An undefined input stays undefined. `name` must outlive the tape
// (a literal).
std::vector<Tensor> recompute(const char* name, Function f, const std::vector<Tensor>& inputs);

}  // namespace tandem
