// Sinusoidal positions: a table by position or distance, and a layer that adds positions to its input.
//
// Vaswani et al., "Attention is all you need" (2017), section 3.5. The columns have the order of
// Transformer-XL's code: all sines, then all cosines.
#pragma once
#include "tandem/models/layer.h"

namespace tandem {

class Sinusoids {
 public:
  // Frequencies w_k = 10000^(-2k/D) in f32, as in the authors' code. Error: D is odd or not positive.
  explicit Sinusoids(int64_t d);
  // The D/2 frequencies of a checkpoint, which may be rounded differently.
  explicit Sinusoids(std::vector<float> frequencies) : frequencies_(std::move(frequencies)) {}

  // Returns a table (rows, batch, D): row n is sin(n w_k) for k = 0 .. D/2-1, then cos(n w_k), the same for
  // each batch index. Tables are never freed, since captured CUDA graphs keep their addresses.
  Tensor rows(int64_t rows, int64_t batch, DType dtype, Device device) const;

 private:
  std::vector<float> frequencies_;
  mutable std::vector<Tensor> tables_;
};

// Adds the table to x, then applies dropout. Positions count from the beginning of the segment; no state is
// carried.
class PositionLayer : public Layer {
 public:
  PositionLayer(int64_t d, double dropout) : sinusoids_(d), dropout_(dropout) {}

  std::vector<std::string> state_names() const override { return {}; }
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override;
  std::unique_ptr<LayerDecoder> decoder(int64_t batch, const AttentionContext& context) const override;
  double forward_flops(int64_t, int64_t) const override { return 0; }

 private:
  class CountingDecoder;

  Sinusoids sinusoids_;
  double dropout_;
};

}  // namespace tandem
