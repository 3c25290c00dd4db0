// Products of f32 activations with weights kept in 8 bits, in the CPU's integer units: u8 times s8, summed in
// i32.
//
// A weight is w = step_w (code - zero_w) with one step and zero for the whole matrix; each row of activations
// gets its own step and zero when it is multiplied, x = step_x (q - zero_x), from its range (dynamic
// quantization, as Jacob et al., "Quantization and Training of Neural Networks for Efficient
// Integer-Arithmetic-Only Inference", CVPR 2018, section 2). With the sum over the inputs in integers, which
// is exact,
//
//     y = step_x step_w (sum (q - zero_x) s - (zero_w - 128) sum (q - zero_x)),    s = code - 128
//
// so only the rounding of x is new: a weight's own error is there in f32 too.
#pragma once
#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "ops/gemm/gemm.h"

namespace tandem {

// A weight in 8 bits, in the order in which the CPU multiplies it: one byte a weight.
struct Int8Weight {
  // codes: u8 (out, in) on the CPU, of w = step (code - zero). Error: another dtype, rank or device; more
  // than 2^16 inputs, whose sum might not fit into 32 bits.
  Int8Weight(const Tensor& codes, float step, float zero);

  int64_t out, in;
  float step, zero;           // of s = code - 128, not of the code
  Tensor packed;              // s8 in panels of 64 columns, groups of 4 inputs together (oneDNN's BA16a64b4a)
  std::vector<int32_t> sums;  // of s, of each output
};

namespace cpu {

// gemm() of a stored weight (out, in), transposed, in its 8-bit form: C (m, out) = A (m, in) W' + bias, or +=
// with p.accumulate; lda and ldc as there, no batch. A row of A with a value that is not finite gives NaN.
void gemm_int8(float* c, const float* a, const Gemm& p, const Int8Weight& weight,
               const float* bias = nullptr);

// c (m, n) = left (m, k) times packed panels: what oneDNN does where the CPU has the instructions, for those
// that have not. k is a multiple of 4, n of 64.
void multiply_int8(int32_t* c, const uint8_t* left, const int8_t* right, int64_t m, int64_t n, int64_t k);

}  // namespace cpu
}  // namespace tandem
