// mingru_scan: h_t = (1 - z_t) h_{t-1} + z_t g(a_t), the recurrence of the minGRU without its filter over time.
#pragma once
#include "tandem/core/tensor.h"

namespace prototype {

// Maps u (T, B, 2 D) and h_0 (B, D) to h (T, B, D): a is the first D columns of u, z the sigmoid of the others, and
// g(a) = a + 1/2 for a >= 0, else sigmoid(a). All are f32 or all f64, on the CPU. Error: other shapes, dtypes or devices.
tandem::Tensor mingru_scan(const tandem::Tensor& u, const tandem::Tensor& h0);

}  // namespace prototype
