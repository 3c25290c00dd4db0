// The QRNN's pooling, one column of the batch at a time, with the gates as the library and the paper write
// them.
#pragma once
#include <cmath>

#include "tandem/core/tensor.h"
#include "tandem/ops/qrnn_scan.h"
#include "tandem/ops/reference/activation.h"

namespace tandem::reference {

// u (T, B, k D), c0 (B, D) or undefined for zeros. With z = tanh(u_z) and the gates f, o, i = sigmoid(u_f, u_o,
// u_i):
//
//     f, fo:  c = m f z + (1 - m f) c                 h = c  or  h = o c
//     ifo:    c = m i z + (1 - m (1 - f)) c           h = o c
//
// The zoneout factor m is drawn, 0 or 1, in training, and 1 - zoneout in evaluation.
inline QrnnScanResult qrnn_scan(const Tensor& u, const Tensor& c0, const QrnnScanOptions& options) {
  const int64_t planes = qrnn_planes(options.pooling), steps = u.size(0), batch = u.size(1);
  const int64_t width = u.size(2) / planes;
  Tensor h({steps, batch, width}, DType::f64), c_last({batch, width}, DType::f64);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t j = 0; j < width; ++j) {
      double c = c0.defined() ? c0.data<double>()[b * width + j] : 0;
      for (int64_t t = 0; t < steps; ++t) {
        const int64_t at = (t * batch + b) * width + j;
        const double* plane = u.data<double>() + (t * batch + b) * planes * width + j;
        const double z = std::tanh(plane[0]), f = sigmoid(plane[width]);
        double m = 1 - options.zoneout;
        if (options.training) m = dropout_word(options.key, at) >= keep_threshold(options.zoneout) ? 1 : 0;
        if (options.pooling == QrnnPooling::ifo)
          c = m * sigmoid(plane[3 * width]) * z + (1 - m * (1 - f)) * c;
        else
          c = m * f * z + (1 - m * f) * c;
        h.data<double>()[at] = options.pooling == QrnnPooling::f ? c : sigmoid(plane[2 * width]) * c;
      }
      c_last.data<double>()[b * width + j] = c;
    }
  return {h, c_last};
}

}  // namespace tandem::reference
