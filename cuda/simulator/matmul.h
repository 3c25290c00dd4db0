// One batched column-major product, D = alpha op(A) op(B) + beta C + bias, on the CPU.
#pragma once
#include <cstddef>
#include <cstdint>

namespace tandem::simulator {

enum class Element { f32, f64, bf16 };
inline size_t bytes_of(Element e) {
  return e == Element::f64 ? 8 : e == Element::f32 ? 4 : 2;
}

// How many bits of f32 operands the product sees.
enum class Rounding { none, tf32, bf16 };

struct Matrix {
  void* data;
  Element element;
  int64_t ld;
  int64_t stride;  // to the next of the batch, in elements
};

struct Matmul {
  int64_t m, n, k, batch;
  bool transpose_a, transpose_b;
  Rounding rounding;
  Matrix a, b, c, d;
  double alpha, beta;
  const void* bias;  // m values of d's element type, or null
};

// Sums in f64 for f64, else in f32, over k in ascending order; the same bits for any number of threads.
void compute(const Matmul& product);
// Sets D to zeros; where beta is not 0, leaves it as it is.
void skip(const Matmul& product);

}  // namespace tandem::simulator
