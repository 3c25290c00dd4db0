// The list of benchmarked operators, and random inputs for them.
#include "tools/bench/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/random.h"
#include "tools/bench/timing.h"

namespace tandem {
namespace {

struct Operator {
  const char* name;
  AddCases add;
  bool products;
};

constexpr Operator kOperators[] = {
    {"linear", add_linear_cases, true},
    {"matmul", add_matmul_cases, true},
    {"attention", add_attention_cases, true},
    {"relative_attention", add_relative_attention_cases, true},
    {"lstm", add_lstm_cases, true},
    {"sru_scan", add_sru_scan_cases, true},
    {"qrnn_scan", add_qrnn_scan_cases, false},
    {"causal_conv", add_causal_conv_cases, false},
    {"layer_norm", add_layer_norm_cases, false},
    {"softmax", add_softmax_cases, false},
    {"cross_entropy", add_cross_entropy_cases, false},
    {"adaptive_softmax", add_adaptive_softmax_cases, true},
    {"embedding", add_embedding_cases, false},
    {"adaptive_embedding", add_adaptive_embedding_cases, true},
    {"dropout", add_dropout_cases, false},
    {"activation", add_activation_cases, false},
    {"arithmetic", add_arithmetic_cases, false},
    {"reduce", add_reduce_cases, false},
    {"chunk_sum", add_chunk_sum_cases, false},
    {"concat", add_concat_cases, false},
    {"optimizer_step", add_optimizer_cases, false},
};

Tensor random_tensor(Shape shape, DType dtype, uint64_t seed, double low, double high) {
  Tensor x(shape, dtype, bench_device());
  Random(seed).fill_uniform(x, low, high);
  return x;
}

}  // namespace

const std::vector<std::string>& bench_operator_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Operator& op : kOperators) all.emplace_back(op.name);
    return all;
  }();
  return names;
}

std::vector<BenchCase> bench_cases(const std::string& op, const BenchSizes& sizes,
                                   MatmulPrecision precision) {
  const Operator* const found = std::find_if(std::begin(kOperators), std::end(kOperators),
                                             [&op](const Operator& known) { return op == known.name; });
  CHECK(found != std::end(kOperators), "benchmark: {} is not an operator; there are {}", op,
        fmt::join(bench_operator_names(), ", "));
  std::vector<BenchCase> cases;
  if (precision == MatmulPrecision::f32 || found->products ||
      bench_activation_dtype(precision) == DType::bf16)
    found->add(cases, sizes, precision);
  return cases;
}

DType bench_activation_dtype(MatmulPrecision precision) {
  return bench_device().is_cuda() && precision == MatmulPrecision::bf16 ? DType::bf16 : DType::f32;
}

Tensor bench_random(Shape shape, uint64_t seed, double low, double high) {
  return random_tensor(shape, DType::f32, seed, low, high);
}

Tensor bench_activation(Shape shape, MatmulPrecision precision, uint64_t seed, double low, double high) {
  return random_tensor(shape, bench_activation_dtype(precision), seed, low, high);
}

Tensor bench_ids(Shape shape, int64_t count, uint64_t seed) {
  Tensor ids(shape, DType::i32);
  Random random(seed);
  for (int32_t& id : ids.span<int32_t>())
    id = static_cast<int32_t>(random.below(static_cast<uint64_t>(count)));
  return ids.to(bench_device());
}

}  // namespace tandem
