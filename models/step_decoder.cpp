// Generation with a LayeredModel: its decoder, whose rows join and leave the batch.
#include <algorithm>
#include <numeric>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/tap.h"
#include "tandem/models/layered_model.h"
#include "tandem/models/layers/batch_rows.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {

class LayeredModel::StepDecoder : public Decoder {
 public:
  StepDecoder(const LayeredModel& model, int64_t batch, const AttentionContext& context)
      : model_(model), context_(context), places_(static_cast<size_t>(batch)) {
    context_.same_length = true;
    std::iota(places_.begin(), places_.end(), int64_t{0});
    if (!model_.carries_state()) past_.resize(places_.size());
    layers_ = new_layers(batch);
  }

  Tensor step(const Tensor& tokens) override {
    TANDEM_CHECK(tokens.shape() == Shape({batch()}),
                 "generation: expected one token for each of {} rows, got {}", batch(), tokens.summary());
    const Tensor y = read(tokens.view_as({1, batch()}));
    return y.view_as({batch(), y.size(-1)});
  }

  Tensor read(const Tensor& tokens, bool every = false) override {
    TANDEM_CHECK(tokens.rank() == 2 && tokens.size(0) > 0 && tokens.size(1) == batch(),
                 "generation: expected (T, {}) tokens, at least one for each row, got {}", batch(),
                 tokens.summary());
    NoGrad pause;
    const GenerationScope generation;
    Tensor all, y;
    for (int64_t begin = 0; begin < tokens.size(0);) {
      const int64_t end = std::min(tokens.size(0), begin + make_room());
      y = in_places(tokens.view_rows(begin, end), /*to_places=*/true);
      remember(y);
      y = through(layers_, y);
      if (!every) y = y.view_rows(y.size(0) - 1, y.size(0));
      if (every || end == tokens.size(0)) y = in_places(model_.output_->logits(y), /*to_places=*/false);
      if (every && end - begin < tokens.size(0)) {
        if (!all.defined()) all = Tensor({tokens.size(0), batch(), y.size(2)}, y.dtype(), y.device());
        copy(all.view_rows(begin, end), y);
      }
      begin = end;
    }
    return all.defined() ? all : y;
  }

  void keep(std::span<const int64_t> rows) override {
    TANDEM_CHECK(!rows.empty(), "generation: of {} rows none is kept; a batch needs at least one", batch());
    for (size_t i = 0; i < rows.size(); ++i)
      TANDEM_CHECK(rows[i] >= 0 && rows[i] < batch() && (i == 0 || rows[i] > rows[i - 1]),
                   "generation: row {} cannot be kept; the rows must ascend and lie in 0 to {}", rows[i],
                   batch() - 1);
    std::vector<int64_t> kept;  // places, ascending
    for (const int64_t row : rows) kept.push_back(places_[static_cast<size_t>(row)]);
    std::vector<int64_t> new_places;
    std::vector<int64_t> sorted = kept;
    std::sort(sorted.begin(), sorted.end());
    for (const int64_t place : kept)
      new_places.push_back(std::lower_bound(sorted.begin(), sorted.end(), place) - sorted.begin());
    std::vector<std::vector<int32_t>> past;
    if (!past_.empty())
      for (const int64_t place : sorted) past.push_back(std::move(past_[static_cast<size_t>(place)]));
    for (const auto& layer : layers_) layer->keep(sorted);
    places_ = std::move(new_places);
    past_ = std::move(past);
  }

  void append(Decoder& other) override {
    auto* const from = dynamic_cast<StepDecoder*>(&other);
    TANDEM_CHECK(from && &from->model_ == &model_ && from->context_.memory == context_.memory &&
                     from->context_.segment == context_.segment && from->context_.clamp == context_.clamp,
                 "generation: only rows of the same model and context can join a batch");
    for (size_t i = 0; i < layers_.size(); ++i) layers_[i]->append(*from->layers_[i]);
    const int64_t before = batch();
    for (const int64_t place : from->places_) places_.push_back(before + place);
    std::move(from->past_.begin(), from->past_.end(), std::back_inserter(past_));
    from->places_.clear();
    from->past_.clear();
  }

 private:
  using LayerDecoders = std::vector<std::unique_ptr<LayerDecoder>>;

  int64_t batch() const { return static_cast<int64_t>(places_.size()); }

  LayerDecoders new_layers(int64_t batch) const {
    LayerDecoders layers;
    for (const auto& layer : model_.layers_) layers.push_back(layer->decoder(batch, context_));
    return layers;
  }

  // Returns the output of the last layer for tokens (T, B).
  Tensor through(const LayerDecoders& layers, const Tensor& tokens) const {
    Tensor x = model_.embedding_->forward(tokens, ForwardOptions{}, 0);
    for (size_t i = 0; i < layers.size(); ++i) {
      const TapScope scope("layers", static_cast<int64_t>(i));
      x = layers[i]->step(x);
    }
    return x;
  }

  // Brings the rows of (T, B) or (T, B, D) from the caller's order to that of the layers, or back.
  Tensor in_places(const Tensor& x, bool to_places) const {
    if (std::is_sorted(places_.begin(), places_.end())) return x;
    const Tensor from = x.rank() == 2 ? x.view_as({x.size(0), x.size(1), 1}) : x;
    const Tensor to(from.shape(), x.dtype(), x.device());
    for (int64_t row = 0; row < batch(); ++row) {
      const int64_t place = places_[static_cast<size_t>(row)];
      const int64_t source = to_places ? row : place;
      set_batch_rows(to, to_places ? place : row, batch_rows(from, source, source + 1));
    }
    return to.view_as(x.shape());
  }

  // Returns how many tokens the layers can read at once. Models with absolute positions have a maximum length: rows that
  // have reached it start over by reading their last M tokens again.
  int64_t make_room() {
    constexpr int64_t kAtOnce = 256;
    if (past_.empty()) return kAtOnce;
    const auto longest = static_cast<size_t>(std::max<int64_t>(context_.longest(), 1));
    std::vector<int64_t> full, others;  // places
    size_t most = 0;
    for (size_t place = 0; place < past_.size(); ++place) {
      std::vector<int32_t>& past = past_[place];
      (past.size() == longest ? full : others).push_back(static_cast<int64_t>(place));
      if (past.size() == longest) past.erase(past.begin(), past.end() - context_.memory);
      most = std::max(most, past.size());
    }
    if (!full.empty()) start_over(full, others);
    return std::min(kAtOnce, static_cast<int64_t>(longest - most));
  }

  // Reads the past of the rows at the places `full` anew. They come to lie behind the `others`.
  void start_over(const std::vector<int64_t>& full, const std::vector<int64_t>& others) {
    const auto rows = static_cast<int64_t>(full.size());
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < context_.memory; ++t)
      for (const int64_t place : full)
        ids.push_back(past_[static_cast<size_t>(place)][static_cast<size_t>(t)]);
    LayerDecoders fresh = new_layers(rows);
    if (!ids.empty()) through(fresh, tensor_of<int32_t>({context_.memory, rows}, ids).to(model_.device()));
    if (others.empty()) {
      layers_ = std::move(fresh);
      return;
    }
    std::vector<int64_t> order = others;  // old places in their new order
    order.insert(order.end(), full.begin(), full.end());
    for (size_t i = 0; i < layers_.size(); ++i) {
      layers_[i]->keep(others);
      layers_[i]->append(*fresh[i]);
    }
    std::vector<std::vector<int32_t>> past;
    for (const int64_t place : order) past.push_back(std::move(past_[static_cast<size_t>(place)]));
    past_ = std::move(past);
    for (int64_t& place : places_) place = std::find(order.begin(), order.end(), place) - order.begin();
  }

  // Notes the tokens (T, B), in the order of the layers, of a model that carries no state.
  void remember(const Tensor& tokens) {
    if (past_.empty()) return;
    const std::vector<int32_t> ids = tokens.to_vector<int32_t>();
    for (size_t i = 0; i < ids.size(); ++i) past_[i % past_.size()].push_back(ids[i]);
  }

  const LayeredModel& model_;
  AttentionContext context_;
  LayerDecoders layers_;
  std::vector<int64_t> places_;  // where the layers hold each row
  // Tokens since the last start, by place; empty if the model carries state.
  std::vector<std::vector<int32_t>> past_;
};

std::unique_ptr<Decoder> LayeredModel::decoder(int64_t batch, const AttentionContext& context) const {
  TANDEM_CHECK(batch > 0, "generation: a batch of {} rows; give at least one", batch);
  TANDEM_CHECK(context.memory >= 0, "generation: needs a memory of 0 or more tokens, got {}", context.memory);
  return std::make_unique<StepDecoder>(*this, batch, context);
}

}  // namespace tandem
