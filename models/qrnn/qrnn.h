// QRNN language models: convolutions over a window of one or two time steps, then a pooling without matrices,
// which is the only recurrence (ops/qrnn_scan.h has its equations).
//
// Bradbury, Merity, Xiong and Socher, "Quasi-Recurrent Neural Networks" (ICLR 2017). The layer follows the
// authors' pytorch-qrnn, the language model AWD-QRNN (models/layers/recurrent_stack.h).
#pragma once
#include "tandem/models/layers/recurrent_stack.h"
#include "tandem/ops/qrnn_scan.h"

namespace tandem {

struct QrnnLayerOptions {
  int64_t window = 1;  // 2: the gates see the previous time step too
  QrnnPooling pooling = QrnnPooling::fo;
  double zoneout = 0;
};

struct QrnnConfig : Configured<QrnnConfig, RecurrentStackConfig> {
  int64_t first_window = 2;    // window of the first layer
  int64_t window = 1;          // window of the other layers
  std::string pooling = "fo";  // or "f", "ifo"
  double zoneout = 0;

  std::string model_name() const { return "qrnn"; }
  void fields(Fields& field);
};

//     U = W [x_t; x_{t-1}] + b, or W x_t + b        h, c = qrnn_scan(U)
//
// Weights and biases start uniform in (-b, b), b = 1 / sqrt(columns of W), as in PyTorch.
class QrnnLayer : public Layer {
 public:
  // Maps width `input` to width `output`. `config` gives the dtype and the device.
  QrnnLayer(int64_t input, int64_t output, const QrnnLayerOptions& options, const TokenConfig& config,
            Random& random);

  // "c": the cell state (B, output). With a window of 2 also "x": the last input (B, input).
  std::vector<std::string> state_names() const override;
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override;
  double forward_flops(int64_t, int64_t) const override { return 2.0 * static_cast<double>(weight_.numel()); }

 private:
  QrnnLayerOptions options_;
  Tensor weight_;  // (planes of the pooling * output, window * input); columns of the current input first
  Tensor bias_;    // (planes of the pooling * output)
};

// Error: a window other than 1 and 2, an unknown pooling, zoneout outside [0, 1), and see
// make_recurrent_stack().
std::unique_ptr<LanguageModel> make_qrnn(const QrnnConfig& config, uint64_t seed);

}  // namespace tandem
