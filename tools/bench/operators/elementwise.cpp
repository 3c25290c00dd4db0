// Benchmark cases of operators that touch each element once: activations, arithmetic, dropout, reductions,
// sums of chunks, concat.
#include <utility>

#include "core/check.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/chunk_sum.h"
#include "ops/concat.h"
#include "ops/dropout.h"
#include "ops/reduce.h"
#include "tools/bench/operators.h"

namespace tandem {
namespace {

using Tensors = std::vector<Tensor>;

// `forward` and `backward`: the bytes that the pass must move.
void add(std::vector<BenchCase>& cases, const char* op, MatmulPrecision precision, std::string name,
         Tensors inputs, TensorFunction run, double forward, double backward) {
  TapeCase c;
  c.op = op;
  c.precision = precision;
  c.name = std::move(name);
  c.inputs = std::move(inputs);
  c.run = std::move(run);
  c.forward.bytes = forward;
  c.backward.bytes = backward;
  cases.push_back(tape_case(std::move(c)));
}

}  // namespace

void add_activation_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const std::pair<const char*, Activation> kinds[] = {{"gelu (erf)", Activation::gelu_erf},
                                                      {"gelu (tanh)", Activation::gelu_tanh},
                                                      {"relu", Activation::relu},
                                                      {"silu", Activation::silu},
                                                      {"tanh", Activation::tanh}};
  const Tensor x = bench_activation({s.unroll, s.batch_size, s.d}, precision, 1, -3, 3);
  const double e = bytes_of({x});
  for (const std::pair<const char*, Activation>& kind : kinds)
    add(
        cases, "activation", precision, fmt::format("{} {}", kind.first, x.shape().str()), {x},
        [which = kind.second](const Tensors& in) { return Tensors{activation(in[0], which)}; }, 2 * e, 3 * e);
}

void add_arithmetic_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const Shape shape{s.unroll, s.batch_size, s.d};
  const Tensor a = bench_activation(shape, precision, 1), b = bench_activation(shape, precision, 2);
  const Tensor bias = bench_activation({s.d}, precision, 3);
  const double e = bytes_of({a});
  // The gradient of a sum is the one that arrives: nothing to move. A leaf, as here, copies it.
  add(
      cases, "arithmetic", precision, "add " + shape.str(), {a, b},
      [](const Tensors& in) { return Tensors{in[0] + in[1]}; }, 3 * e, 0);
  add(
      cases, "arithmetic", precision, fmt::format("add {} + ({})", shape.str(), s.d), {a, bias},
      [](const Tensors& in) { return Tensors{in[0] + in[1]}; }, 2 * e, e);
  add(
      cases, "arithmetic", precision, "mul " + shape.str(), {a, b},
      [](const Tensors& in) { return Tensors{in[0] * in[1]}; }, 3 * e, 5 * e);
  add(
      cases, "arithmetic", precision, fmt::format("mul {} * ({})", shape.str(), s.d), {a, bias},
      [](const Tensors& in) { return Tensors{in[0] * in[1]}; }, 2 * e, 3 * e);
  add(
      cases, "arithmetic", precision, "scale " + shape.str(), {a},
      [](const Tensors& in) { return Tensors{scale(in[0], 0.5)}; }, 2 * e, 2 * e);
}

void add_dropout_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const Tensor x = bench_activation({s.unroll, s.batch_size, s.d}, precision, 1);
  const double e = bytes_of({x});
  add(
      cases, "dropout", precision, "elementwise " + x.shape().str(), {x},
      [](const Tensors& in) {
        return Tensors{dropout(in[0], 0.1, {1, 2, 3})};
      },
      2 * e, 2 * e);
  add(
      cases, "dropout", precision, "variational " + x.shape().str(), {x},
      [](const Tensors& in) {
        return Tensors{variational_dropout(in[0], 0.1, {1, 2, 3})};
      },
      2 * e, 2 * e);
}

void add_reduce_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const Tensor x = bench_activation({s.unroll, s.batch_size, s.d}, precision, 1, 0, 1);
  const double e = bytes_of({x});
  add(
      cases, "reduce", precision, "sum of all " + x.shape().str(), {x},
      [](const Tensors& in) { return Tensors{sum(in[0])}; }, e, e);
  add(
      cases, "reduce", precision, "sum over axis 0 " + x.shape().str(), {x},
      [](const Tensors& in) { return Tensors{sum(in[0], 0)}; }, e, e);
  add(
      cases, "reduce", precision, "mean over axis -1 " + x.shape().str(), {x},
      [](const Tensors& in) { return Tensors{mean(in[0], -1)}; }, e, e);
}

void add_chunk_sum_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const Tensor x = bench_activation({s.unroll, s.batch_size, 4 * s.d}, precision, 1);
  const double bytes = 1.25 * bytes_of({x});
  add(
      cases, "chunk_sum", precision, fmt::format("{} to {}", x.shape().str(), s.d), {x},
      [d = s.d](const Tensors& in) { return Tensors{chunk_sum(in[0], d)}; }, bytes, bytes);
}

void add_concat_cases(std::vector<BenchCase>& cases, const BenchSizes& s, MatmulPrecision precision) {
  const Tensor x = bench_activation({s.unroll, s.batch_size, s.d_projected}, precision, 1);
  // Backward gives views of the gradient: nothing to move.
  add(
      cases, "concat", precision, "two of " + x.shape().str(), {x, bench_activation(x.shape(), precision, 2)},
      [](const Tensors& in) { return Tensors{concat(in)}; }, 4 * bytes_of({x}), 0);
  add(
      cases, "concat", precision, "columns, two of " + x.shape().str(),
      {x, bench_activation(x.shape(), precision, 2)},
      [](const Tensors& in) { return Tensors{concat_columns(in)}; }, 4 * bytes_of({x}), 4 * bytes_of({x}));
}

}  // namespace tandem
