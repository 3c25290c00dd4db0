// The QRNN layer and its language model.
#include "tandem/models/qrnn/qrnn.h"

#include <cmath>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/ops/concat.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/slice.h"

namespace tandem {
namespace {

// Returns x (T, B, D) one time step later: `first` (B, D) or zeros, then all rows of x but the last.
Tensor delayed(const Tensor& x, const Tensor& first) {
  const Tensor head = first.defined() ? first.to(x.dtype()) : zeros(x.shape().tail(), x.dtype(), x.device());
  return concat({head.view_as(x.shape().with(0, 1)), slice(x, 0, x.size(0) - 1)});
}

QrnnPooling pooling_named(const std::string& name) {
  if (name == "f") return QrnnPooling::f;
  if (name == "ifo") return QrnnPooling::ifo;
  TANDEM_CHECK(name == "fo", "qrnn: pooling {} is not known; there are f, fo and ifo", name);
  return QrnnPooling::fo;
}

}  // namespace

void QrnnConfig::fields(Fields& field) {
  stack_fields(field);
  field("first_window", first_window);
  field("window", window);
  field("pooling", pooling);
  field("zoneout", zoneout);
}

QrnnLayer::QrnnLayer(int64_t input, int64_t output, const QrnnLayerOptions& options,
                     const TokenConfig& config, Random& random)
    : options_(options) {
  TANDEM_CHECK(options.window == 1 || options.window == 2, "qrnn: window {} must be 1 or 2", options.window);
  const int64_t rows = qrnn_planes(options.pooling) * output, columns = options.window * input;
  const double bound = 1 / std::sqrt(static_cast<double>(columns));
  weight_ = add_parameter("weight", uniform(random, {rows, columns}, bound, config));
  bias_ = add_parameter("bias", uniform(random, {rows}, bound, config));
}

std::vector<std::string> QrnnLayer::state_names() const {
  if (options_.window == 2) return {"c", "x"};
  return {"c"};
}

Layer::Output QrnnLayer::forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                                 uint32_t site) const {
  const bool wide = options_.window == 2;
  const Tensor u = linear(wide ? concat_columns({x, delayed(x, part(before, 1))}) : x, weight_, bias_);
  const QrnnScanResult y = qrnn_scan(u, part(before, 0),
                                     {.pooling = options_.pooling,
                                      .zoneout = options_.zoneout,
                                      .training = options.training,
                                      .key = {options.seed, options.step, site}});
  if (!wide) return {y.h, {y.c_last}};
  // A copy, so that the state does not keep the whole segment's input in memory.
  const Tensor last = x.detach().view_rows(x.size(0) - 1, x.size(0)).clone();
  return {y.h, {y.c_last, last.view_as(x.shape().tail())}};
}

std::unique_ptr<LanguageModel> make_qrnn(const QrnnConfig& config, uint64_t seed) {
  const QrnnPooling pooling = pooling_named(config.pooling);
  TANDEM_CHECK(config.zoneout >= 0 && config.zoneout < 1, "qrnn: zoneout {} must be in [0, 1)",
               config.zoneout);
  Random random(seed);
  return make_recurrent_stack("qrnn", config, config.text(), random, [&config, &random, pooling](int64_t i) {
    const QrnnLayerOptions options = {.window = i == 0 ? config.first_window : config.window,
                                      .pooling = pooling,
                                      .zoneout = config.zoneout};
    return std::make_unique<QrnnLayer>(config.input_width(i), config.output_width(i), options, config,
                                       random);
  });
}

}  // namespace tandem
