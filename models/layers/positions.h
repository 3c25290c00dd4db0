// Positions as sinusoids: a table by distance or by place, and a layer that adds places to its input.
//
// Vaswani et al., "Attention is all you need" (2017), section 3.5, in the order of Transformer-XL's code: all
// sines, then all cosines.
#pragma once
#include "models/layer.h"

namespace tandem {

class Sinusoids {
 public:
  // Frequencies w_k = 10000^(-2k/D) in f32, as the authors have them. Error: an odd or not positive width.
  explicit Sinusoids(int64_t d);
  // The D/2 of a checkpoint, whose maker's pow may have rounded another way.
  explicit Sinusoids(std::vector<float> frequencies) : frequencies_(std::move(frequencies)) {}

  // (rows, batch, D): row n is sin(n w_k) for k = 0 .. D/2-1, then cos(n w_k), the same for all of the batch.
  // Tables are kept for good, for a captured graph reads them where they lie.
  Tensor rows(int64_t rows, int64_t batch, DType dtype, Device device) const;

 private:
  std::vector<float> frequencies_;
  mutable std::vector<Tensor> tables_;
};

// x + table, then dropout. Places are counted from the beginning of the segment: it carries no state.
class PositionLayer : public Layer {
 public:
  PositionLayer(int64_t d, double dropout) : sinusoids_(d), dropout_(dropout) {}

  std::vector<std::string> state_names() const override { return {}; }
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& pass,
                 uint32_t site) const override;
  std::unique_ptr<LayerDecoder> decoder(int64_t batch, const AttentionContext& context) const override;
  double forward_flops(int64_t, int64_t) const override { return 0; }

 private:
  class CountingDecoder;

  Sinusoids sinusoids_;
  double dropout_;
};

}  // namespace tandem
