// The registry of benchmarked operators, and random inputs for them.
#include "tools/bench/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "op_names.h"
#include "tandem/core/check.h"
#include "tandem/core/random.h"
#include "tools/bench/timing.h"

namespace tandem {
namespace {

struct Registered {
  void (*add)(BenchCases&);
  BenchPrecisions precisions;
};

// Filled before main(), in any order of the files.
std::map<std::string, Registered>& registry() {
  static std::map<std::string, Registered> operators;
  return operators;
}

Tensor random_tensor(Shape shape, DType dtype, uint64_t seed, double low, double high) {
  Tensor x(shape, dtype, bench_device());
  Random(seed).fill_uniform(x, low, high);
  return x;
}

}  // namespace

PassWork bytes_moved(double forward, double backward) {
  return {{.bytes = forward}, {.bytes = backward}};
}

PassWork multiply_adds(double forward) {
  return {{.flops = 2 * forward}, {.flops = 4 * forward}};
}

BenchCases::BenchCases(std::string op, const BenchSizes& sizes, MatmulPrecision precision)
    : op(std::move(op)), sizes(sizes), precision(precision) {}

void BenchCases::add(std::string name, Tensors inputs, TensorFunction run, const PassWork& work) {
  TapeCase c;
  c.name = std::move(name);
  c.inputs = std::move(inputs);
  c.run = std::move(run);
  c.forward = work.forward;
  c.backward = work.backward;
  add(std::move(c));
}

void BenchCases::add(TapeCase c) {
  c.op = op;
  c.precision = precision;
  cases_.push_back(tape_case(std::move(c)));
}

void BenchCases::add(BenchCase c) {
  c.op = op;
  c.precision = precision;
  cases_.push_back(std::move(c));
}

Tensor BenchCases::random(Shape shape, uint64_t seed, double low, double high) const {
  return bench_random(shape, seed, low, high);
}

Tensor BenchCases::activation(Shape shape, uint64_t seed, double low, double high) const {
  return bench_activation(shape, precision, seed, low, high);
}

Tensor BenchCases::ids(Shape shape, int64_t count, uint64_t seed) const {
  return bench_ids(shape, count, seed);
}

bool register_bench(const char* op, void (*add)(BenchCases&), BenchPrecisions precisions) {
  return registry().try_emplace(op, Registered{add, precisions}).second;
}

const std::vector<std::string>& bench_operator_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const auto& [name, registered] : registry()) all.push_back(name);
    return all;
  }();
  return names;
}

std::vector<std::string> operators_without_bench() {
  std::vector<std::string> names;
  std::copy_if(std::begin(kOpFiles), std::end(kOpFiles), std::back_inserter(names),
               [](const std::string& op) { return !registry().contains(op); });
  return names;
}

std::vector<BenchCase> bench_cases(const std::string& op, const BenchSizes& sizes,
                                   MatmulPrecision precision) {
  const auto found = registry().find(op);
  TANDEM_CHECK(found != registry().end(), "benchmark: {} is not an operator; there are {}", op,
               fmt::join(bench_operator_names(), ", "));
  BenchCases bench(op, sizes, precision);
  if (precision == MatmulPrecision::f32 || found->second.precisions == BenchPrecisions::every ||
      bench_activation_dtype(precision) == DType::bf16)
    found->second.add(bench);
  return bench.cases();
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
