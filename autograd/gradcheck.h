// gradcheck: is an operator's backward the derivative of its forward? By central differences, in f64.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "autograd/tape.h"

namespace tandem {

struct GradcheckOptions {
  double step = 1e-6;        // of the differences, relative to max(1, |x|)
  double tolerance = 1e-6;   // largest |analytic - numeric| / max(1, |numeric|) that passes
  uint64_t seed = 1;         // of the projection
  int64_t max_elements = 0;  // per input: check this many, spread evenly; 0 checks all
};

struct GradcheckResult {
  bool ok = true;
  double max_error = 0;  // relative as above
  std::string message;   // names input, element and both numbers where they differ most
  explicit operator bool() const { return ok; }
};

// f maps the inputs to outputs; each is checked against a random projection of all outputs, because a plain
// sum hides wrong Jacobians (a softmax sums to 1 whatever its backward says). Inputs of other dtypes than f64
// (ids, targets) are passed on and not checked. f must be deterministic. Error: no f64 input, or output.
GradcheckResult gradcheck(const std::function<std::vector<Tensor>(const std::vector<Tensor>&)>& f,
                          const std::vector<Tensor>& inputs, const GradcheckOptions& options = {});

}  // namespace tandem
