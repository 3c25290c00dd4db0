// Generation by forward(), and the memory of attention.
#include "tandem/models/layer.h"

#include <algorithm>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/models/layers/batch_rows.h"

namespace tandem {
namespace {

class StateDecoder : public LayerDecoder {
 public:
  StateDecoder(const Layer& layer, int64_t batch, const AttentionContext& context)
      : layer_(layer), batch_(batch) {
    options_.context = context;
  }

  Tensor step(const Tensor& x) override {
    Layer::Output out = layer_.forward(x, state_, options_, 0);
    state_ = std::move(out.state);
    return out.h;
  }

  void keep(std::span<const int64_t> rows) override {
    for (Tensor& part : state_) part = kept_rows(part, rows);
    batch_ = static_cast<int64_t>(rows.size());
  }

  void append(LayerDecoder& other) override {
    auto& from = as<StateDecoder>(other);
    state_.resize(std::max(state_.size(), from.state_.size()));
    for (size_t i = 0; i < state_.size(); ++i)
      state_[i] = joined_rows(state_[i], batch_, part(from.state_, i), from.batch_);
    batch_ += from.batch_;
  }

 private:
  const Layer& layer_;
  int64_t batch_;
  ForwardOptions options_;
  LayerState state_;
};

}  // namespace

void LayerDecoder::keep(std::span<const int64_t>) {
  detail::fail("generation: rows cannot leave a batch of this layer; its decoder must implement keep()");
}

void LayerDecoder::append(LayerDecoder&) {
  detail::fail("generation: rows cannot join a batch of this layer; its decoder must implement append()");
}

void LayerDecoder::refuse_other_kind() {
  detail::fail(
      "generation: rows of another kind of layer cannot join a batch; append a decoder of the same model");
}

std::unique_ptr<LayerDecoder> Layer::decoder(int64_t batch, const AttentionContext& context) const {
  return std::make_unique<StateDecoder>(*this, batch, context);
}

Tensor next_memory(const Tensor& old, const Tensor& x, const AttentionContext& context) {
  const int64_t rows = context.memory_after(x.size(0));
  if (rows == 0) return Tensor();
  const int64_t from_old = old.defined() ? std::min(old.size(0), rows - x.size(0)) : 0;
  if (from_old <= 0) return x.detach().view_rows(std::max<int64_t>(0, x.size(0) - rows), x.size(0));
  Tensor memory({from_old + x.size(0), x.size(1), x.size(2)}, x.dtype(), x.device());
  copy(memory.view_rows(0, from_old), old.view_rows(old.size(0) - from_old, old.size(0)));
  copy(memory.view_rows(from_old, memory.size(0)), x.detach());
  return memory;
}

double mean_visible_keys(int64_t steps, double memory) {
  return memory + static_cast<double>(steps + 1) / 2;
}

}  // namespace tandem
