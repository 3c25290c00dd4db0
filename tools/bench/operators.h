// Which operators can be benchmarked; the cases of each.
#pragma once
#include <string>
#include <vector>

#include "tools/bench/case.h"
#include "tools/bench/sizes.h"

namespace tandem {

// In the order in which they are run.
const std::vector<std::string>& bench_operator_names();

// The cases of an operator in one precision, on the bench device. On a GPU bf16 is of activations, and all
// operators have cases in it; elsewhere, and in tf32, only products have. Error: an unknown name.
std::vector<BenchCase> bench_cases(const std::string& op, const BenchSizes& sizes, MatmulPrecision precision);

// Each adds the cases of one operator. Random inputs, from a fixed seed.
using AddCases = void (*)(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);

void add_linear_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_matmul_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_attention_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_lstm_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_relative_attention_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes,
                                  MatmulPrecision precision);

void add_adaptive_softmax_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes,
                                MatmulPrecision precision);
void add_adaptive_embedding_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes,
                                  MatmulPrecision precision);

void add_activation_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_arithmetic_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_chunk_sum_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_concat_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_cross_entropy_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes,
                             MatmulPrecision precision);
void add_dropout_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_embedding_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_layer_norm_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_reduce_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_softmax_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_qrnn_scan_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_causal_conv_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_sru_scan_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);
void add_optimizer_cases(std::vector<BenchCase>& cases, const BenchSizes& sizes, MatmulPrecision precision);

// bf16 on a GPU in that precision, as in a model there; else f32.
DType bench_activation_dtype(MatmulPrecision precision);

// Inputs to cases, on the bench device: parameters and carried state, which are f32; activations; ids, i32.
Tensor bench_random(Shape shape, uint64_t seed, double low = -1, double high = 1);
Tensor bench_activation(Shape shape, MatmulPrecision precision, uint64_t seed, double low = -1,
                        double high = 1);
Tensor bench_ids(Shape shape, int64_t count, uint64_t seed);

}  // namespace tandem
