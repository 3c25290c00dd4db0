// adaptive_softmax: each softmax is computed over its own tokens, a block of logits at a time.
#include "tandem/ops/adaptive_softmax.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "tandem/autograd/accumulate.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/adaptive/parts.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/embedding.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/support/data_or_null.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

using Weights = AdaptiveSoftmaxWeights;

// A checked call, with the tokens sorted by cluster.
struct Call {
  Tensor hidden;    // (N, d)
  Weights weights;  // in the dtype of hidden
  VocabularyClusters clusters;
  SoftmaxTokens tokens;
  AdaptiveSoftmaxOptions options;
  MatmulPrecision precision;
};

Tensor as_rows(const Tensor& x) {
  return x.view_as({x.numel() / x.size(-1), x.size(-1)});
}

Weights weights_as(const Weights& w, DType dtype) {
  return transformed(w, [dtype](const Tensor& x) { return x.defined() ? weight_as(x, dtype) : x; });
}

// The features of the tokens of one softmax: x (n, d), and z (n, d_i) = dropout(x P).
struct Features {
  Tensor x, z;
};

void drop_in_place(const Tensor& z, const AdaptiveSoftmaxOptions& options, int64_t i) {
  if (options.dropout > 0)
    TANDEM_DISPATCH(z.device(), dropout(z, z, z.numel(), options.dropout, cluster_key(options.key, i)));
}

Tensor rows_at(const Tensor& index, const Tensor& x) {
  if (!index.defined()) return x;
  const Tensor y({index.size(0), x.size(1)}, x.dtype(), x.device());
  TANDEM_DISPATCH(x.device(), embedding_forward(y, index, x));
  return y;
}

Features features_of(const Call& call, const Softmax& softmax, int64_t i) {
  const Tensor x = rows_at(call.tokens.index[i], call.hidden);
  if (!softmax.projection.defined()) return {x, x};
  const Tensor z({x.size(0), softmax.projection.size(1)}, x.dtype(), x.device());
  TANDEM_DISPATCH(x.device(), matmul(z, x, softmax.projection, {.precision = call.precision}));
  drop_in_place(z, call.options, i);
  return {x, z};
}

// Calls f(logits, begin, end) with the logits of rows begin .. end - 1 of z, block by block. The columns are
// padded to a multiple of 8, which a GPU multiplies faster, with -infinity, whose exponential is 0.
template <class F>
void for_logits(const Softmax& softmax, const Tensor& z, int64_t logits_at_once, MatmulPrecision precision,
                const F& f) {
  const Softmax::Piece& last = softmax.pieces.back();
  const int64_t n = z.size(0), columns = last.first + last.rows.size(0), width = (columns + 7) / 8 * 8;
  if (n == 0) return;
  const int64_t blocks = (n * width + logits_at_once - 1) / logits_at_once;
  const int64_t each = (n + blocks - 1) / blocks;
  const Tensor memory({each, width}, z.dtype(), z.device());
  for (int64_t begin = 0; begin < n; begin += each) {
    const int64_t end = std::min(n, begin + each);
    const Tensor logits = memory.view_rows(0, end - begin), features = z.view_rows(begin, end);
    for (const Softmax::Piece& piece : softmax.pieces) {
      Gemm product = linear_product(end - begin, piece.rows, precision);
      product.ldc = width;
      TANDEM_DISPATCH(z.device(),
                      product_at(logits, piece.first, features, 0, piece.rows, product, piece.bias));
    }
    if (width > columns)
      TANDEM_DISPATCH(z.device(), fill_columns(logits, columns, -std::numeric_limits<double>::infinity()));
    f(logits, begin, end);
  }
}

// Returns memory for one f64 number for each token of each softmax.
std::vector<Tensor> numbers_for(const SoftmaxTokens& tokens) {
  std::vector<Tensor> numbers;
  for (const Tensor& columns : tokens.columns)
    numbers.emplace_back(columns.shape(), DType::f64, columns.device());
  return numbers;
}

// Adds up the losses of all softmaxes, token by token: -log P_head - log P_tail. Overwrites and returns the
// head's, nll[0].
Tensor total_of(const std::vector<Tensor>& nll, const SoftmaxTokens& tokens) {
  const auto as_column = [](const Tensor& x) { return x.view_as({x.numel(), 1}); };
  for (size_t i = 1; i < nll.size(); ++i)
    TANDEM_DISPATCH(nll[0].device(), add_to_rows(as_column(nll[0]), as_column(nll[i]), tokens.index[i]));
  return nll[0];
}

// Computes the gradients of the tables and biases of one softmax, and dz if it is defined. loss(logits, begin,
// end) replaces the logits of a block by their gradient.
template <class F>
void differentiate(const Call& call, const Softmax& softmax, const Softmax& gradients, bool accumulate,
                   const Tensor& z, const Tensor& dz, const F& loss) {
  const auto has_bias = [](const Softmax::Piece& piece) { return piece.bias.defined(); };
  const bool wants_biases = std::any_of(gradients.pieces.begin(), gradients.pieces.end(), has_bias);
  Tensor sums;  // (width): sums of the logits' gradients over all tokens
  const auto use = [&call, &softmax, &gradients, accumulate, &z, &dz, &loss, wants_biases, &sums](
                       const Tensor& logits, int64_t begin, int64_t end) {
    loss(logits, begin, end);
    const int64_t width = logits.size(1);
    for (size_t k = 0; k < softmax.pieces.size(); ++k) {
      const auto& [rows, bias, first] = softmax.pieces[k];
      if (dz.defined()) {
        Gemm product = linear_input_product(end - begin, rows, call.precision);
        product.lda = width;
        product.accumulate = k > 0;
        TANDEM_DISPATCH(z.device(),
                        product_at(dz.view_rows(begin, end), 0, logits, first, rows, product, {}));
      }
      if (const Tensor& drows = gradients.pieces[k].rows; drows.defined()) {
        Gemm product = linear_weight_product(end - begin, rows, accumulate || begin > 0, call.precision);
        product.lda = width;
        TANDEM_DISPATCH(z.device(),
                        product_at(drows, 0, logits, first, z.view_rows(begin, end), product, {}));
      }
    }
    if (!wants_biases) return;
    if (begin == 0) sums = Tensor({width}, parameter_dtype(z.dtype()), z.device());
    TANDEM_DISPATCH(z.device(), linear_backward_bias(sums, logits, begin > 0));
  };
  for_logits(softmax, z, call.options.logits_at_once, call.precision, use);
  for (const auto& [rows, bias, first] : gradients.pieces) {
    if (!bias.defined()) continue;
    const Tensor own = sums.view_rows(first, first + bias.size(0)).to(bias.dtype());
    accumulate ? add_in_place(bias, own) : copy(bias, own);
  }
}

// Computes the gradients that are defined in dhidden (N, d) and `dweights`; those of the weights are added to
// if `accumulate`. loss(i, logits, begin, end) replaces the logits of the tokens begin .. end - 1 of softmax i
// by their gradient. With q = x P and z = dropout(q):
//
//     drows = dlogits^T z        dz = dlogits rows        dq = mask dz        dP = x^T dq        dx = dq P^T
template <class F>
void gradients_of(const Call& call, const Tensor& dhidden, const Weights& dweights, bool accumulate,
                  const F& loss) {
  for (int64_t i = 0; i < call.clusters.count(); ++i) {
    const Softmax softmax = softmax_of(call.weights, call.clusters, i);
    const Softmax gradients = softmax_of(dweights, call.clusters, i);
    const auto [x, z] = features_of(call, softmax, i);
    const Tensor dx = i == 0 || !dhidden.defined() ? dhidden : empty_like(x);
    const bool projects = softmax.projection.defined();
    const bool wants_z = dhidden.defined() || gradients.projection.defined();
    const Tensor dz = projects && wants_z ? empty_like(z) : dx;
    if (x.size(0) == 0) {
      if (accumulate) continue;
      if (gradients.projection.defined()) fill(gradients.projection, 0);
      for (const auto& [rows, bias, first] : gradients.pieces)
        for (const Tensor& gradient : {rows, bias})
          if (gradient.defined()) fill(gradient, 0);
      continue;
    }
    const auto own_loss = [&loss, i](const Tensor& logits, int64_t begin, int64_t end) {
      loss(i, logits, begin, end);
    };
    differentiate(call, softmax, gradients, accumulate, z, dz, own_loss);
    if (projects && wants_z) drop_in_place(dz, call.options, i);
    if (gradients.projection.defined())
      TANDEM_DISPATCH(x.device(),
                      matmul(gradients.projection, x, dz,
                             {.transpose_a = true, .accumulate = accumulate, .precision = call.precision}));
    if (projects && dx.defined())
      TANDEM_DISPATCH(x.device(),
                      matmul(dx, dz, softmax.projection, {.transpose_b = true, .precision = call.precision}));
    if (i > 0 && dx.defined()) TANDEM_DISPATCH(x.device(), add_to_rows(dhidden, dx, call.tokens.index[i]));
  }
}

Call checked_call(const char* op, const Tensor& hidden, const Tensor& targets, const Weights& w,
                  const AdaptiveSoftmaxOptions& options) {
  VocabularyClusters clusters = checked_clusters(op, hidden, w);
  check_defined(op, {{"targets", targets}});
  const std::span<const int64_t> leading(hidden.shape().begin(), hidden.rank() - 1);
  TANDEM_CHECK(targets.shape() == Shape(leading) && targets.device() == hidden.device(),
               "{}: hidden is {}, targets {}; targets must have hidden's leading sizes {} and device", op,
               hidden.summary(), targets.summary(), Shape(leading).str());
  TANDEM_CHECK(options.dropout >= 0 && options.dropout < 1 && options.logits_at_once > 0,
               "{}: options.dropout {} must be in [0, 1), and options.logits_at_once {} more than none", op,
               options.dropout, options.logits_at_once);
  SoftmaxTokens tokens = softmax_tokens(op, targets, w, clusters);
  return {as_rows(hidden),   weights_as(w, hidden.dtype()), std::move(clusters), std::move(tokens), options,
          matmul_precision()};
}

// Returns the losses, and fills `lse` of the tokens of each softmax, which backward needs.
Tensor losses_of(const Call& call, const std::vector<Tensor>& lse) {
  const std::vector<Tensor> nll = numbers_for(call.tokens);
  for (int64_t i = 0; i < call.clusters.count(); ++i) {
    const Softmax softmax = softmax_of(call.weights, call.clusters, i);
    const auto use = [&call, &nll, &lse, i](const Tensor& logits, int64_t begin, int64_t end) {
      TANDEM_DISPATCH(logits.device(),
                      token_nll_forward(nll[i].view_rows(begin, end), lse[i].view_rows(begin, end), logits,
                                        call.tokens.columns[i].view_rows(begin, end)));
    };
    for_logits(softmax, features_of(call, softmax, i).z, call.options.logits_at_once, call.precision, use);
  }
  return total_of(nll, call.tokens);
}

std::vector<Tensor> inputs_of(const Tensor& hidden, const Weights& w) {
  std::vector<Tensor> all{hidden};
  transformed(w, [&all](const Tensor& x) { return all.emplace_back(x); });
  return all;
}

}  // namespace

namespace cpu {

void add_to_rows(const Tensor& y, const Tensor& x, const Tensor& index) {
  embedding_backward(y, x, index, true);
}

void product_at(const Tensor& c, int64_t first_c, const Tensor& a, int64_t first_a, const Tensor& b,
                const Gemm& product, const Tensor& bias) {
  if (const Int8Weight* form = product.transpose_b ? int8_form(b) : nullptr)
    return gemm_int8(c.data<float>() + first_c, a.data<float>() + first_a, product, *form,
                     data_or_null<float>(bias));
  dispatch_float(c.dtype(), "adaptive_softmax", [&]<class T>() {
    gemm(c.data<T>() + first_c, a.data<T>() + first_a, b.data<T>(), product, data_or_null<T>(bias));
  });
}

void fill_columns(const Tensor& x, int64_t first, double value) {
  dispatch_float(x.dtype(), "adaptive_softmax", [&]<class T>() {
    T* row = x.data<T>();
    for (int64_t i = 0; i < x.size(0); ++i, row += x.size(1))
      std::fill(row + first, row + x.size(1), static_cast<T>(value));
  });
}

void shift_logits(const Tensor& y, int64_t first, int64_t columns, const Tensor& logits,
                  const Tensor& shift) {
  dispatch_float(logits.dtype(), "adaptive_softmax", [&]<class T>() {
    T* out = y.data<T>() + first;
    const T* in = logits.data<T>();
    const double* by = shift.data<double>();
    const int64_t width = logits.size(1), stride = y.size(1);
    for_rows(logits.size(0), columns, [out, in, by, columns, width, stride](int64_t t, int64_t end) {
      for (; t < end; ++t)
        for (int64_t j = 0; j < columns; ++j) {
          // In T the shift would lose the digits that the difference of two large numbers leaves.
          out[t * stride + j] = static_cast<T>(static_cast<double>(in[t * width + j]) - by[t]);
        }
    });
  });
}

}  // namespace cpu

Tensor adaptive_softmax_nll(const Tensor& hidden, const Tensor& targets, const Weights& w,
                            const AdaptiveSoftmaxOptions& options) {
  const Call call = checked_call("adaptive_softmax_nll", hidden, targets, w, options);
  const std::vector<Tensor> lse = numbers_for(call.tokens);
  const Tensor nll = losses_of(call, lse).view_as(targets.shape());
  const auto backward = [hidden, w, lse, clusters = call.clusters, tokens = call.tokens, options,
                         precision = call.precision](const Tensor& dy) -> Grads {
    const Call call{as_rows(hidden), weights_as(w, hidden.dtype()), clusters, tokens, options, precision};
    const Tensor dhidden = needs_grad(hidden) ? empty_like(hidden) : Tensor();
    // If any leaf already has a gradient, all are added to, and the new ones begin with zeros.
    bool accumulate = false;
    std::vector<Tensor> fresh;
    const Weights dw = transformed(w, [&accumulate, &fresh](const Tensor& x) {
      if (!needs_grad(x)) return Tensor();
      const GradTarget target = grad_target(x);
      accumulate = accumulate || target.accumulate;
      if (!target.accumulate) fresh.push_back(target.grad);
      return target.grad;
    });
    for (size_t i = 0; accumulate && i < fresh.size(); ++i) fill(fresh[i], 0);

    std::vector<Tensor> dnll;
    for (const Tensor& index : tokens.index) {
      const Tensor own = rows_at(index, dy.view_as({dy.numel(), 1}));
      dnll.push_back(own.view_as({own.numel()}));
    }
    const auto replace = [&call, &dnll, &lse](int64_t i, const Tensor& logits, int64_t begin, int64_t end) {
      TANDEM_DISPATCH(logits.device(), token_nll_backward(logits, dnll[i].view_rows(begin, end), logits,
                                                          lse[i].view_rows(begin, end),
                                                          call.tokens.columns[i].view_rows(begin, end), 1));
    };
    gradients_of(call, dhidden.defined() ? as_rows(dhidden) : dhidden, dw, accumulate, replace);
    return inputs_of(dhidden, dw);
  };
  return record("adaptive_softmax", nll.to(parameter_dtype(hidden.dtype())), inputs_of(hidden, w), backward);
}

Tensor adaptive_softmax_loss(const Tensor& hidden, const Tensor& targets, const Weights& w,
                             const AdaptiveSoftmaxOptions& options) {
  const Call call = checked_call("adaptive_softmax_loss", hidden, targets, w, options);
  TANDEM_CHECK(targets.numel() > 0, "adaptive_softmax_loss: targets are {}: the mean over no tokens",
               targets.summary());
  const std::vector<Tensor> inputs = inputs_of(hidden, w);
  const DType dtype = parameter_dtype(hidden.dtype());
  if (!Tape::current() || std::none_of(inputs.begin(), inputs.end(), needs_grad))
    return mean(losses_of(call, numbers_for(call.tokens))).to(dtype);

  const auto place = [](const Tensor& x) { return needs_grad(x) ? empty_like(x) : Tensor(); };
  const Tensor dhidden = place(hidden);
  const Weights dw = transformed(w, place);
  const std::vector<Tensor> nll = numbers_for(call.tokens);
  const double share = 1 / static_cast<double>(targets.numel());
  const auto replace = [&call, &nll, share](int64_t i, const Tensor& logits, int64_t begin, int64_t end) {
    TANDEM_DISPATCH(logits.device(), token_nll_in_place(nll[i].view_rows(begin, end), logits,
                                                        call.tokens.columns[i].view_rows(begin, end), share));
  };
  gradients_of(call, dhidden.defined() ? as_rows(dhidden) : dhidden, dw, false, replace);
  // The gradients are given away: a leaf takes memory that no other tensor shares without a copy.
  const auto backward = [gradients = inputs_of(dhidden, dw)](const Tensor& dy) mutable -> Grads {
    for (const Tensor& gradient : gradients)
      if (gradient.defined()) TANDEM_DISPATCH(dy.device(), scale_by(gradient, dy));
    return std::exchange(gradients, {});
  };
  return record("adaptive_softmax", mean(total_of(nll, call.tokens)).to(dtype), inputs, backward);
}

// log P(w) = logit - lse in the head, and logit - lse - (the tail's loss in the head) in a tail.
Tensor adaptive_log_probabilities(const Tensor& hidden, const Weights& w) {
  const VocabularyClusters clusters = checked_clusters("adaptive_log_probabilities", hidden, w);
  const int64_t count = clusters.count();
  const SoftmaxTokens all{std::vector<Tensor>(count), {}};
  const Call call{as_rows(hidden), weights_as(w, hidden.dtype()), clusters, all, {}, matmul_precision()};
  const Tensor y(hidden.shape().with(-1, clusters.vocabulary()), parameter_dtype(hidden.dtype()),
                 hidden.device());
  std::vector<Tensor> cluster_nll(count);
  for (Tensor& nll : cluster_nll) nll = Tensor({call.hidden.size(0)}, DType::f64, y.device());
  const Tensor rows = as_rows(y);
  for (int64_t i = 0; i < count; ++i) {
    const Softmax softmax = softmax_of(call.weights, clusters, i);
    const auto use = [&w, &clusters, &rows, &cluster_nll, i](const Tensor& logits, int64_t begin,
                                                             int64_t end) {
      const Device device = rows.device();
      const Tensor shift({end - begin}, DType::f64, device), ignored = empty_like(shift);
      const auto forward = [&logits, device](const Tensor& nll, const Tensor& lse, int64_t column) {
        const Tensor columns = full(nll.shape(), static_cast<double>(column), DType::i32, device);
        TANDEM_DISPATCH(device, token_nll_forward(nll, lse, logits, columns));
      };
      forward(ignored, shift, 0);
      if (i > 0) add_in_place(shift, cluster_nll[i].view_rows(begin, end));
      for (int64_t j = 1; i == 0 && j < clusters.count(); ++j)
        forward(cluster_nll[j].view_rows(begin, end), ignored, cluster_column(w, clusters, j));
      TANDEM_DISPATCH(device, shift_logits(rows.view_rows(begin, end), clusters.begin(i), clusters.size(i),
                                           logits, shift));
    };
    for_logits(softmax, features_of(call, softmax, i).z, call.options.logits_at_once, call.precision, use);
  }
  return y;
}

}  // namespace tandem
