// Which operators can be benchmarked, and at which sizes: those that they have in a model.
#pragma once
#include <string>
#include <vector>

#include "models/presets.h"
#include "tools/support/bench_case.h"

namespace tandem {

struct BenchSizes {
  static constexpr int64_t kWords = 267'735;  // of WikiText-103

  std::string preset;
  int64_t unroll = 0, batch_size = 0;  // T and B; the memory is as long as the unroll
  int64_t d = 0, d_projected = 0, heads = 1;
  int64_t vocabulary = 0;
  int64_t words = 0;         // vocabulary of the adaptive softmax and embedding
  std::string model_config;  // of the whole model, vocabulary included: what optimizer_step updates

  int64_t tokens() const { return unroll * batch_size; }
  std::string text() const;  // "preset laptop: T 128, M 128, B 16, d 512, d' 128, 1 head, V 99"
};

// The sizes of a preset, where 0 or not overridden. A model without projection has d' = d.
BenchSizes bench_sizes(const std::string& preset, const BenchSizes& overrides = {});

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
