// gradcheck: compares an operator's backward with central differences of its forward, in f64.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "tandem/autograd/tape.h"

namespace tandem {

struct GradcheckOptions {
  double step = 1e-6;        // step of the differences, relative to max(1, |x|)
  double tolerance = 1e-6;   // largest |analytic - numeric| / max(1, |numeric|) that passes
  uint64_t seed = 1;         // seed of the random projection
  int64_t max_elements = 0;  // number of elements to check in each input, spread evenly; 0: all
};

struct GradcheckResult {
  bool ok = true;
  double max_error = 0;  // the largest error, relative as in `tolerance`
  std::string message;   // names the input, the element and both numbers of the largest error
  explicit operator bool() const { return ok; }
};

// Checks the gradients of f's f64 inputs. The outputs are reduced to one number by a random projection, because a plain
// sum hides wrong Jacobians (a softmax sums to 1 whatever its backward says). Inputs of other dtypes (ids, targets) are
// passed to f and not checked. f must be deterministic. Error: no input or no output is f64.
GradcheckResult gradcheck(const std::function<std::vector<Tensor>(const std::vector<Tensor>&)>& f,
                          const std::vector<Tensor>& inputs, const GradcheckOptions& options = {});

}  // namespace tandem
