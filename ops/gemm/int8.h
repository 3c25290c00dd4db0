// Products of f32 activations with 8-bit weights, in the CPU's integer units: u8 times s8, summed in i32.
//
// A weight is w = step_w (code - zero_w), with one step and one zero for the whole matrix. Each row of
// activations is quantized when it is multiplied, x = step_x (q - zero_x), with a step and a zero from its
// own range (dynamic quantization; Jacob et al., "Quantization and Training of Neural Networks for Efficient
// Integer-Arithmetic-Only Inference", CVPR 2018, section 2). The sums over the inputs are integers, and
// exact:
//
//     y = step_x step_w (sum (q - zero_x) s - (zero_w - 128) sum (q - zero_x)),    s = code - 128
//
// So the product adds only the rounding of x to the error that the quantized weight has in f32 too.
#pragma once
#include <cstdint>
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/gemm/gemm.h"

namespace tandem {

// A matrix of 8-bit weights in the order in which the CPU multiplies it: one byte a weight.
struct Int8Weight {
  // codes: u8 (out, in) on the CPU, for w = step (code - zero). Error: another dtype, rank or device; more
  // than 2^16 inputs, whose sum might not fit into 32 bits.
  Int8Weight(const Tensor& codes, float step, float zero);

  int64_t out, in;
  float step, zero;  // w = step (s - zero) with s = code - 128
  Tensor packed;     // s, in panels of 64 outputs, 4 inputs of an output together (oneDNN's BA16a64b4a)
  std::vector<int32_t> sums;  // (out) sum of s over the inputs of each output
};

namespace cpu {

// Computes C (m, out) = A (m, in) W^T + bias, or C += with p.accumulate, from the 8-bit form of W. p has
// transpose_b, its own lda and ldc, and no batch. A row of A that holds a value that is not finite gives NaN.
void gemm_int8(float* c, const float* a, const Gemm& p, const Int8Weight& weight,
               const float* bias = nullptr);

// c (m, n) = left (m, k) times packed panels, like onednn_multiply_int8() but for any CPU. k is a multiple of
// 4, n of 64.
void multiply_int8(int32_t* c, const uint8_t* left, const int8_t* right, int64_t m, int64_t n, int64_t k);

}  // namespace cpu
}  // namespace tandem
