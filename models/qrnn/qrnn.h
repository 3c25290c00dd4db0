// QRNN language models: convolutions over a window of one or two time steps, and a pooling without matrices
// as their only recurrence (ops/qrnn_scan.h has the equations).
//
// Bradbury, Merity, Xiong and Socher, "Quasi-Recurrent Neural Networks" (ICLR 2017); the layer follows the
// authors' pytorch-qrnn, the language model AWD-QRNN (Merity et al. 2018, see models/layers/recurrent_stack.h).
#pragma once
#include "models/layers/recurrent_stack.h"
#include "ops/qrnn_scan.h"

namespace tandem {

struct QrnnLayerOptions {
  int64_t window = 1;  // 2: the gates see the time step before, too
  QrnnPooling pooling = QrnnPooling::fo;
  double zoneout = 0;
};

struct QrnnConfig : RecurrentStackConfig {
  int64_t first_window = 2;    // of the first layer
  int64_t window = 1;          // of the others
  std::string pooling = "fo";  // or "f", "ifo"
  double zoneout = 0;

  std::string text() const;
  static QrnnConfig from_text(const std::string& text);
};

//     U = W [x_t; x_{t-1}] + b, or W x_t + b        h, c = qrnn_scan(U)
//
// Weights and biases start uniform within 1 / sqrt(columns of W), as PyTorch's do.
class QrnnLayer : public Layer {
 public:
  // Of `config` the dtype and device count.
  QrnnLayer(int64_t input, int64_t output, const QrnnLayerOptions& options, const TokenConfig& config,
            Random& random);

  // The cell state c (B, output), and with a window of 2 the last input x (B, input).
  std::vector<std::string> state_names() const override;
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& pass,
                 uint32_t site) const override;
  double forward_flops(int64_t, int64_t) const override { return 2.0 * static_cast<double>(weight_.numel()); }

 private:
  QrnnLayerOptions options_;
  Tensor weight_;  // (planes of the pooling x output, window x input): the current input's columns first
  Tensor bias_;
};

// Error: a window other than 1 and 2, an unknown pooling, zoneout outside [0, 1), and see
// make_recurrent_stack().
std::unique_ptr<LanguageModel> make_qrnn(const QrnnConfig& config, uint64_t seed);

}  // namespace tandem
