// Benchmark cases of operators that work along rows, columns or a vocabulary: norms, softmax, losses,
// scans, convolution, embedding.
#include <utility>

#include "autograd/tape.h"
#include "core/check.h"
#include "core/streaming.h"
#include "ops/causal_conv.h"
#include "ops/cross_entropy.h"
#include "ops/embedding.h"
#include "ops/layer_norm.h"
#include "ops/qrnn_scan.h"
#include "ops/softmax.h"
#include "ops/sru_scan.h"
#include "ops/support/weight_cache.h"
#include "tools/bench/operators.h"
#include "tools/bench/timing.h"

namespace tandem {
namespace {

using Tensors = std::vector<Tensor>;

TapeCase make(const char* op, MatmulPrecision precision, std::string name, Tensors inputs,
              TensorFunction run) {
  TapeCase c;
  c.op = op;
  c.precision = precision;
  c.name = std::move(name);
  c.inputs = std::move(inputs);
  c.run = std::move(run);
  return c;
}

void add(std::vector<BenchCase>& cases, TapeCase c, double forward_bytes, double backward_bytes) {
  c.forward.bytes = forward_bytes;
  c.backward.bytes = backward_bytes;
  cases.push_back(tape_case(std::move(c)));
}

// Results of an operator, as logits are, instead of leaves: what may be overwritten.
Tensors copies(const Tensors& in) {
  const Tensor y = in[0].clone();
  return {record("copy", y, {in[0]}, [](const Tensor& dy) -> Grads { return {dy}; }), in[1]};
}

}  // namespace

void add_cross_entropy_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const Tensor logits = bench_activation({s.unroll, s.batch_size, s.vocabulary}, precision, 1, -3, 3);
  const Tensor targets = bench_ids({s.unroll, s.batch_size}, s.vocabulary, 2);
  const double e = bytes_of({logits}), ids = bytes_of({targets});
  add(cases,
      make("cross_entropy", precision, "apart " + logits.shape().str(), {logits, targets},
           [](const Tensors& in) { return Tensors{cross_entropy(in[0], in[1])}; }),
      e + ids, 2 * e + ids);
  // Backward has nothing left to do: the gradient stands where the logits were.
  TapeCase in_place = make("cross_entropy", precision, "in place " + logits.shape().str(), {logits, targets},
                           [](const Tensors& in) { return Tensors{cross_entropy_in_place(in[0], in[1])}; });
  in_place.prepare = copies;
  add(cases, std::move(in_place), 2 * e + ids, 0);
}

void add_embedding_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const Tensor ids = bench_ids({s.unroll, s.batch_size}, s.vocabulary, 1);
  const Tensor table = bench_random({s.vocabulary, s.d}, 2);
  const size_t element = size_of(bench_activation_dtype(precision));
  const double y = static_cast<double>(s.tokens() * s.d) * static_cast<double>(element),
               index = bytes_of({ids}), rows = bytes_of({table});
  add(cases,
      make("embedding", precision, fmt::format("{} of {}", ids.shape().str(), table.shape().str()),
           {ids, table},
           [](const Tensors& in) { return Tensors{embedding(in[0], in[1], activation_dtype(in[1]))}; }),
      rows + index + y, y + index + rows);
}

void add_layer_norm_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const int64_t p = s.d_projected;
  const Tensor x = bench_activation({s.unroll, s.batch_size, p}, precision, 1);
  const Tensor a = bench_activation(x.shape(), precision, 2);
  const Tensor gain = bench_random({p}, 3, 0.5, 1.5), bias = bench_random({p}, 4);
  const Tensor alpha = full({1}, 0.7, DType::f32, bench_device());
  const double e = bytes_of({x});
  add(cases,
      make("layer_norm", precision, "alone " + x.shape().str(), {x, gain, bias},
           [](const Tensors& in) { return Tensors{layer_norm(in[0], in[1], in[2])}; }),
      2 * e, 3 * e);
  add(cases,
      make("layer_norm", precision, "with residual " + x.shape().str(), {x, a, alpha, gain, bias},
           [](const Tensors& in) { return Tensors{residual_layer_norm(in[0], in[1], in[2], in[3], in[4])}; }),
      3 * e, 5 * e);
}

void add_softmax_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const int64_t T = s.unroll;
  const Tensor x = bench_activation({s.batch_size, T, 2 * T}, precision, 1, -3, 3);
  const double e = bytes_of({x});
  add(cases,
      make("softmax", precision, "all " + x.shape().str(), {x},
           [](const Tensors& in) { return Tensors{softmax(in[0])}; }),
      2 * e, 3 * e);
  // What is masked is written, as zeros, and never read.
  const double visible =
      e * (static_cast<double>(T) + static_cast<double>(T + 1) / 2) / static_cast<double>(2 * T);
  add(cases,
      make("softmax", precision, fmt::format("masked, memory {} {}", T, x.shape().str()), {x},
           [T](const Tensors& in) { return Tensors{masked_softmax(in[0], {.memory = T})}; }),
      visible + e, 2 * visible + e);
}

void add_sru_scan_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const int64_t T = s.unroll, B = s.batch_size, d = s.d;
  const Tensor x = bench_activation({T, B, d}, precision, 1), c0 = bench_random({B, d}, 2);
  const Tensor weight = bench_random({2 * d}, 3), bias = bench_random({2 * d}, 4);
  const double e = bytes_of({x});
  // Of a large scan on a CPU hardly any states are kept.
  const double states = bench_device().is_cpu() && worth_streaming(x.nbytes()) ? 0 : e;
  for (const int64_t planes : {3, 4}) {
    const bool skip_in_u = planes == 4;
    Tensor u = bench_activation({T, B, planes * d}, precision, 5);
    if (precision == MatmulPrecision::bf16) {  // on a CPU of u alone, without the skip
      if (bench_device().is_cpu() && skip_in_u) continue;
      u = u.to(DType::bf16);
    }
    const double plane = bytes_of({u}) / planes;
    TapeCase c = make(
        "sru_scan", precision, fmt::format("{} planes ({}, {}, {})", planes, T, B, d),
        skip_in_u ? Tensors{u, weight, bias, c0} : Tensors{u, weight, bias, c0, x}, [](const Tensors& in) {
          const SruScanResult y = sru_scan(in[0], in.size() > 4 ? in[4] : Tensor(), in[1], in[2], in[3]);
          return Tensors{y.h, y.c_last};
        });
    // Forward reads the planes and x and writes h and c; backward reads these, c and dh, writes as many.
    add(cases, std::move(c), 3 * plane + 2 * e + states, 6 * plane + 3 * e + states);
  }
}

void add_qrnn_scan_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const int64_t T = s.unroll, B = s.batch_size, d = s.d;
  const std::pair<const char*, QrnnPooling> poolings[] = {
      {"f", QrnnPooling::f}, {"fo", QrnnPooling::fo}, {"ifo", QrnnPooling::ifo}};
  for (const std::pair<const char*, QrnnPooling>& pooling : poolings) {
    const int planes = qrnn_planes(pooling.second);
    const Tensor u = bench_activation({T, B, planes * d}, precision, 1);
    const double e = bytes_of({u}) / planes, states = pooling.second == QrnnPooling::f ? 0 : e;
    // Forward reads the planes and writes h and, unless h is it, c; backward reads the planes, c and dh and
    // writes as many planes.
    add(cases,
        make("qrnn_scan", precision, fmt::format("{} ({}, {}, {})", pooling.first, T, B, d),
             {u, bench_random({B, d}, 2)},
             [kind = pooling.second](const Tensors& in) {
               const QrnnScanResult y = qrnn_scan(in[0], in[1], {.pooling = kind});
               return Tensors{y.h, y.c_last};
             }),
        planes * e + e + states, 2 * planes * e + 2 * e);
  }
}

void add_causal_conv_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const Tensor x = bench_activation({s.unroll, s.batch_size, s.d}, precision, 1);
  const double e = bytes_of({x});
  for (const int64_t taps : {3, 11})
    add(cases,
        make("causal_conv", precision, fmt::format("{} taps {}", taps, x.shape().str()),
             {x, bench_random({s.d, taps}, 2)},
             [](const Tensors& in) { return Tensors{causal_conv(in[0], in[1])}; }),
        2 * e, 3 * e);
}

}  // namespace tandem
