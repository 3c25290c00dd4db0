// Benchmark cases of the operators that multiply matrices: linear, matmul, attention, lstm.
#include <cmath>

#include "core/check.h"
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/lstm.h"
#include "ops/matmul.h"
#include "ops/relative_attention.h"
#include "tools/bench/operators.h"

namespace tandem {
namespace {

// Two operations, a product and a sum, for each of these; backward has two products for each one of forward.
void set_flops(TapeCase& c, double multiplications) {
  c.forward.flops = 2 * multiplications;
  c.backward.flops = 4 * multiplications;
}

double product_of(int64_t a, int64_t b, int64_t c) {
  return static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c);
}

void add_linear(std::vector<BenchCase>& cases, const char* which, MatmulPrecision precision, int64_t time,
                int64_t batch, int64_t in, int64_t out, bool bias) {
  TapeCase c;
  c.op = "linear";
  c.name = fmt::format("{}: ({}, {}, {}) to {}{}", which, time, batch, in, out, bias ? ", bias" : "");
  c.precision = precision;
  const double bound = std::sqrt(6.0 / static_cast<double>(in + out));
  c.inputs = {bench_activation({time, batch, in}, precision, 1), bench_random({out, in}, 2, -bound, bound)};
  if (bias) c.inputs.push_back(bench_random({out}, 3));
  c.run = [](const std::vector<Tensor>& x) {
    return std::vector<Tensor>{linear(x[0], x[1], x.size() > 2 ? x[2] : Tensor())};
  };
  set_flops(c, product_of(time * batch, in, out));
  cases.push_back(tape_case(std::move(c)));
}

void add_matmul(std::vector<BenchCase>& cases, MatmulPrecision precision, Shape a, Shape b,
                MatmulOptions options) {
  TapeCase c;
  c.op = "matmul";
  c.name = fmt::format("{}{} {}{}", a.str(), options.transpose_a ? "'" : "", b.str(),
                       options.transpose_b ? "'" : "");
  c.precision = precision;
  c.inputs = {bench_activation(a, precision, 1), bench_activation(b, precision, 2)};
  c.run = [options](const std::vector<Tensor>& x) {
    return std::vector<Tensor>{matmul(x[0], x[1], options)};
  };
  const int64_t out = b[options.transpose_b ? -2 : -1];
  set_flops(c, static_cast<double>(a.numel()) * static_cast<double>(out));
  cases.push_back(tape_case(std::move(c)));
}

void add_attention(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision, int64_t M,
                   bool relative) {
  const int64_t T = s.unroll, B = s.batch_size, p = s.d_projected;
  TapeCase c;
  c.op = relative ? "relative_attention" : "attention";
  c.name = fmt::format("T {}, M {}, B {}, d' {}, {} head{}", T, M, B, p, s.heads, s.heads == 1 ? "" : "s");
  c.precision = precision;
  c.inputs = {bench_activation({T, B, p}, precision, 1), bench_activation({M + T, B, 2 * p}, precision, 2)};
  if (relative) {
    c.inputs.push_back(bench_activation({M + T, p}, precision, 3));
    for (const uint64_t seed : {4, 5}) c.inputs.push_back(bench_random({p}, seed));
  }
  c.run = [heads = s.heads, relative](const std::vector<Tensor>& x) {
    AttentionOptions options;
    options.heads = heads;
    return std::vector<Tensor>{relative ? relative_attention(x[0], x[1], x[2], x[3], x[4], options)
                                        : causal_attention(x[0], x[1], options)};
  };
  // Scores, by position too, and weighted values, for the pairs that the mask lets see each other.
  set_flops(c, (relative ? 3 : 2) * product_of(B, T * M + T * (T + 1) / 2, p));
  cases.push_back(tape_case(std::move(c)));
}

}  // namespace

void add_linear_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const int64_t T = s.unroll, B = s.batch_size, p = s.d_projected;
  add_linear(cases, "W_q", precision, T, B, s.d, p, false);
  add_linear(cases, "W_kv, memory too", precision, 2 * T, B, p, 2 * p, false);
  add_linear(cases, "W_o", precision, T, B, p, 3 * s.d, false);
  add_linear(cases, "logits", precision, T, B, s.d, s.vocabulary, true);
}

void add_matmul_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const int64_t T = s.unroll, B = s.batch_size, p = s.d_projected;
  add_matmul(cases, precision, {T * B, p}, {p, s.d}, {});
  add_matmul(cases, precision, {B, T, p}, {B, 2 * T, p}, {.transpose_b = true});
}

void add_lstm_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const int64_t T = s.unroll, B = s.batch_size, d = s.d;
  TapeCase c;
  c.op = "lstm";
  c.name = fmt::format("({}, {}, {})", T, B, d);
  c.precision = precision;
  const double bound = 1 / std::sqrt(static_cast<double>(d));
  c.inputs = {bench_activation({T, B, d}, precision, 1), bench_random({4 * d, d}, 2, -bound, bound),
              bench_random({4 * d, d}, 3, -bound, bound), bench_random({4 * d}, 4, -bound, bound),
              bench_random({4 * d}, 5, -bound, bound)};
  c.run = [](const std::vector<Tensor>& x) {
    return std::vector<Tensor>{lstm(x[0], {x[1], x[2], x[3], x[4]}).h};
  };
  set_flops(c, product_of(T * B, 2 * d, 4 * d));
  cases.push_back(tape_case(std::move(c)));
}

void add_attention_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  for (const int64_t M : {int64_t{0}, s.unroll}) add_attention(cases, s, precision, M, false);
}

void add_relative_attention_cases(std::vector<BenchCase>& cases, const BenchSizes& s,
                                  MatmulPrecision precision) {
  for (const int64_t M : {int64_t{0}, s.unroll}) add_attention(cases, s, precision, M, true);
}

}  // namespace tandem
