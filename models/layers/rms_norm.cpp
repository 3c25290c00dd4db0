// The norm by root mean square as a module.
#include "tandem/models/layers/rms_norm.h"

#include "tandem/core/array.h"
#include "tandem/ops/elementwise.h"
#include "tandem/ops/rms_norm.h"

namespace tandem {

RmsNorm::RmsNorm(int64_t d, double eps, const TokenConfig& config)
    : eps_(eps), scale_(add_parameter("scale", zeros({d}, config.dtype, config.device))) {}

Tensor RmsNorm::operator()(const Tensor& x) const {
  return rms_norm(x, 1.0 + scale_, eps_);
}

}  // namespace tandem
