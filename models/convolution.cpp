// Prefixes of convolutions.
#include "models/convolution.h"

#include "core/array.h"
#include "models/layer.h"

namespace tandem {

Tensor next_prefix(const Tensor& prefix, const Tensor& x, int64_t width) {
  const Tensor before =
      prefix.defined() ? prefix : zeros({width - 1, x.size(1), x.size(2)}, x.dtype(), x.device());
  return next_memory(before, x, {.memory = width - 1});
}

}  // namespace tandem
