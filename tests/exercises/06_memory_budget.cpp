// A right answer to exercise 6.
#include <vector>

#include "tandem/autograd/recompute.h"

using namespace tandem;

Tensor deep(const Tensor& x, const std::vector<Function>& layers) {
  Tensor h = x;
  for (const Function& layer : layers) h = recompute("layer", layer, {h})[0];
  return h;
}
