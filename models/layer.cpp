// Generation by forward(), and the memory of attention.
#include "tandem/models/layer.h"

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"

namespace tandem {
namespace {

class StateDecoder : public LayerDecoder {
 public:
  StateDecoder(const Layer& layer, const AttentionContext& context) : layer_(layer) {
    options_.context = context;
  }

  Tensor step(const Tensor& x) override {
    Layer::Output out = layer_.forward(x, state_, options_, 0);
    state_ = std::move(out.state);
    return out.h;
  }

 private:
  const Layer& layer_;
  ForwardOptions options_;
  LayerState state_;
};

}  // namespace

std::unique_ptr<LayerDecoder> Layer::decoder(int64_t, const AttentionContext& context) const {
  return std::make_unique<StateDecoder>(*this, context);
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
