// The weights of attention, one query of one head at a time.
#include "tandem/ops/attention_cpu/weights.h"

#include <algorithm>
#include <cmath>

#include "tandem/core/parallel.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/support/host_f64.h"

namespace tandem {
namespace {

double dot(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// The operands of one batch row and head, in rows that lie a stride apart.
struct Head {
  const double *q, *keys, *position_q, *r;  // the last two are null without positions
  int64_t width, q_stride, key_stride, r_stride, last_distance;
};

// Writes the weights of query `row`; those of keys that it does not see are left as they are.
void write_row(double* weights, const Head& head, const CausalMask& mask, int64_t row) {
  const int64_t begin = mask.begin(row), end = mask.end(row);
  const double scale = 1 / std::sqrt(static_cast<double>(head.width));
  double largest = -INFINITY, total = 0;
  for (int64_t j = begin; j < end; ++j) {
    weights[j] = dot(head.q + row * head.q_stride, head.keys + j * head.key_stride, head.width);
    if (head.r) {
      const int64_t distance = std::min(mask.memory + row - j, head.last_distance);
      weights[j] += dot(head.position_q + row * head.q_stride, head.r + distance * head.r_stride, head.width);
    }
    weights[j] *= scale;
    largest = std::max(largest, weights[j]);
  }
  for (int64_t j = begin; j < end; ++j) total += weights[j] = std::exp(weights[j] - largest);
  for (int64_t j = begin; j < end; ++j) weights[j] /= total;
}

}  // namespace

Tensor attention_weights(const Tensor& q, const Tensor& kv, const PositionTerm& positions,
                         const AttentionOptions& options) {
  const int64_t queries = q.size(0), batch = q.size(1), width = q.size(2), keys = kv.size(0);
  const int64_t heads = options.heads, head = width / heads;
  const Tensor host_q = host_f64(q), host_kv = host_f64(kv), host_position_q = host_f64(positions.q),
               host_r = host_f64(positions.r);
  const CausalMask mask{keys - queries, options.window};
  const Tensor weights = zeros({batch, heads, queries, keys}, DType::f64);
  cpu::parallel_for(batch * heads, true, [&](int64_t task) {
    const int64_t b = task / heads, column = task % heads * head;
    const int64_t row = b * width + column;
    Head one{.q = host_q.data<double>() + row,
             .keys = host_kv.data<double>() + b * 2 * width + column,
             .position_q = nullptr,
             .r = nullptr,
             .width = head,
             .q_stride = batch * width,
             .key_stride = batch * 2 * width,
             .r_stride = width,
             .last_distance = 0};
    if (positions.any()) {
      one.position_q = host_position_q.data<double>() + row;
      one.r = host_r.data<double>() + column;
      one.last_distance = host_r.size(0) - 1;
    }
    double* const rows = weights.data<double>() + task * queries * keys;
    for (int64_t i = 0; i < queries; ++i) write_row(rows + i * keys, one, mask, i);
  });
  return weights;
}

}  // namespace tandem
