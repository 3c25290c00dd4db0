// Benchmarks of operators. Each registers itself from a file of its own, tools/bench/operators/NAME.cpp:
//
//     BENCH_CASES(softmax) {
//       const Tensor x = bench.activation({bench.sizes.batch_size, bench.sizes.unroll, bench.sizes.unroll}, 1);
//       bench.add("all " + x.shape().str(), {x}, [](const Tensors& in) { return Tensors{softmax(in[0])}; },
//                 bytes_moved(2 * bytes_of({x}), 3 * bytes_of({x})));
//     }
#pragma once
#include <string>
#include <vector>

#include "tools/bench/case.h"
#include "tools/bench/sizes.h"

namespace tandem {

using Tensors = std::vector<Tensor>;

// The work of a case in both passes.
struct PassWork {
  Work forward, backward;
};
// For operators that are bound by memory: the bytes that each pass must move.
PassWork bytes_moved(double forward, double backward);
// For operators that are bound by matrix products: multiplications of the forward pass, each with one
// addition. The backward pass has two products for each one of the forward pass.
PassWork multiply_adds(double forward);

// Collects the cases of one operator, and makes random inputs for them on the bench device.
class BenchCases {
 public:
  BenchCases(std::string op, const BenchSizes& sizes, MatmulPrecision precision);

  void add(std::string name, Tensors inputs, TensorFunction run, const PassWork& work);
  void add(TapeCase c);   // fills in operator and precision
  void add(BenchCase c);  // for what does not record on the tape; fills in operator and precision

  // Random values from [low, high): `random` in f32, for parameters and carried state; `activation` in the
  // dtype that activations have in this precision.
  Tensor random(Shape shape, uint64_t seed, double low = -1, double high = 1) const;
  Tensor activation(Shape shape, uint64_t seed, double low = -1, double high = 1) const;
  // Random integers from [0, count), i32.
  Tensor ids(Shape shape, int64_t count, uint64_t seed) const;

  const std::vector<BenchCase>& cases() const { return cases_; }

  const std::string op;
  const BenchSizes& sizes;
  const MatmulPrecision precision;

 private:
  std::vector<BenchCase> cases_;
};

// The precisions in which an operator has cases. of_activations: f32 and, on a GPU, bf16. every: all that the
// device has products in; for operators that multiply matrices, or that take bf16 on a CPU.
enum class BenchPrecisions { of_activations, every };

// Called by BENCH_CASES before main().
bool register_bench(const char* op, void (*add)(BenchCases&),
                    BenchPrecisions precisions = BenchPrecisions::of_activations);

// Names of the registered operators, in alphabetical order.
const std::vector<std::string>& bench_operator_names();
// Names of the operators in ops/ that record on the tape and have no benchmark.
std::vector<std::string> operators_without_bench();

// Returns the cases of an operator in one precision, on the bench device; none where the operator has none in
// it. Error: no such operator is registered.
std::vector<BenchCase> bench_cases(const std::string& op, const BenchSizes& sizes, MatmulPrecision precision);

// Returns bf16 on a GPU in that precision, as in a model there; else f32.
DType bench_activation_dtype(MatmulPrecision precision);

// Random inputs outside of BENCH_CASES, as in BenchCases.
Tensor bench_random(Shape shape, uint64_t seed, double low = -1, double high = 1);
Tensor bench_activation(Shape shape, MatmulPrecision precision, uint64_t seed, double low = -1,
                        double high = 1);
Tensor bench_ids(Shape shape, int64_t count, uint64_t seed);

}  // namespace tandem

// Defines and registers the cases of an operator; once per file, inside namespace tandem. The body has
// `bench`, a BenchCases. A second argument gives the BenchPrecisions.
#define BENCH_CASES(op, ...)                                               \
  static void bench_cases_of_##op(BenchCases& bench);                      \
  [[maybe_unused]] static const bool bench_cases_of_##op##_added =         \
      register_bench(#op, bench_cases_of_##op __VA_OPT__(, ) __VA_ARGS__); \
  static void bench_cases_of_##op(BenchCases& bench)
