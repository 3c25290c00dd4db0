// Sinusoid tables, whose sizes are powers of two.
#include "tandem/models/layers/positions.h"

#include <bit>
#include <cmath>

#include "tandem/core/check.h"
#include "tandem/models/layers/batch_rows.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/dropout.h"

namespace tandem {
namespace {

std::vector<float> frequencies_of(int64_t d) {
  constexpr int64_t kWidest = 1 << 20;
  TANDEM_CHECK(d > 0 && d % 2 == 0 && d <= kWidest,
               "positions: the width {} must be even, half of it sines and half cosines, and at most {}", d,
               kWidest);
  std::vector<float> all;
  for (int64_t k = 0; k < d / 2; ++k)
    all.push_back(1.0f / std::pow(10000.0f, static_cast<float>(2 * k) / static_cast<float>(d)));
  return all;
}

Tensor make_table(int64_t rows, int64_t batch, const std::vector<float>& frequencies) {
  const auto half = static_cast<int64_t>(frequencies.size());
  Tensor table({rows, batch, 2 * half}, DType::f64);
  double* at = table.data<double>();
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t b = 0; b < batch; ++b, at += 2 * half)
      for (int64_t k = 0; k < half; ++k) {
        const double angle =
            static_cast<double>(n) * static_cast<double>(frequencies[static_cast<size_t>(k)]);
        at[k] = std::sin(angle);
        at[half + k] = std::cos(angle);
      }
  return table;
}

}  // namespace

Sinusoids::Sinusoids(int64_t d) : frequencies_(frequencies_of(d)) {}

Tensor Sinusoids::rows(int64_t rows, int64_t batch, DType dtype, Device device) const {
  for (const Tensor& table : tables_)
    if (table.size(0) >= rows && table.size(1) == batch && table.dtype() == dtype && table.device() == device)
      return table.view_rows(0, rows);
  const auto room = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(rows)));
  tables_.push_back(make_table(room, batch, frequencies_).to(dtype).to(device));
  return tables_.back().view_rows(0, rows);
}

Layer::Output PositionLayer::forward(const Tensor& x, const LayerState&, const ForwardOptions& options,
                                     uint32_t site) const {
  const Tensor positions = sinusoids_.rows(x.size(0), x.size(1), x.dtype(), x.device());
  return {dropout(x + positions, options.training ? dropout_ : 0, {options.seed, options.step, site}), {}};
}

class PositionLayer::CountingDecoder : public LayerDecoder {
 public:
  CountingDecoder(const PositionLayer& layer, int64_t batch)
      : layer_(layer), seen_(static_cast<size_t>(batch), 0) {}

  Tensor step(const Tensor& x) override {
    const Tensor positions(x.shape(), x.dtype(), x.device());
    for (size_t row = 0; row < seen_.size(); ++row) {
      const int64_t before = seen_[row];
      seen_[row] += x.size(0);
      const Tensor table = layer_.sinusoids_.rows(seen_[row], 1, x.dtype(), x.device());
      set_batch_rows(positions, static_cast<int64_t>(row), table.view_rows(before, seen_[row]));
    }
    return x + positions;
  }

  void keep(std::span<const int64_t> rows) override {
    std::vector<int64_t> kept;
    for (const int64_t row : rows) kept.push_back(seen_[static_cast<size_t>(row)]);
    seen_ = std::move(kept);
  }

  void append(LayerDecoder& other) override {
    const auto& from = as<CountingDecoder>(other);
    seen_.insert(seen_.end(), from.seen_.begin(), from.seen_.end());
  }

 private:
  const PositionLayer& layer_;
  std::vector<int64_t> seen_;  // tokens that each row of the batch has read
};

std::unique_ptr<LayerDecoder> PositionLayer::decoder(int64_t batch, const AttentionContext&) const {
  return std::make_unique<CountingDecoder>(*this, batch);
}

}  // namespace tandem
