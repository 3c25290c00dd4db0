// The simulator's cuBLASLt against naive loops in f64, and what it refuses.
#include <doctest/doctest.h>

#include "tandem/core/backend.h"
#ifndef TANDEM_CUDA_SIMULATED
TEST_CASE("cuda simulator: its tests run in builds with -DTANDEM_CUDA=SIMULATE alone") {
  // In a simulated build this case means that the tests below were lost.
  CHECK(tandem::cuda_status().name != "simulated GPU");
}
#else
#include <cmath>
#include <limits>

#include "tandem/core/dtype.h"
#include "tandem/cuda/simulator/cublasLt.h"
#include "tests/support/simulated_device.h"

namespace tandem {
namespace {

using testing::ClearedError;
using testing::DeviceArray;
using testing::LateStream;

template <class T>
constexpr cudaDataType kType = std::is_same_v<T, double>  ? CUDA_R_64F
                               : std::is_same_v<T, float> ? CUDA_R_32F
                                                          : CUDA_R_16BF;

struct Case {
  int64_t m, n, k;
  bool transpose_a = false, transpose_b = false, bias = false;
  int64_t batch = 1, padding = 0;
  double alpha = 1, beta = 0;
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
};

// The descriptors of a case, and the one algorithm for it.
class Product {
 public:
  Product(const Case& p, cudaDataType in, cudaDataType out, cudaDataType scale) {
    CHECK(cublasLtCreate(&handle) == CUBLAS_STATUS_SUCCESS);
    CHECK(cublasLtMatmulDescCreate(&desc, p.compute, scale) == CUBLAS_STATUS_SUCCESS);
    set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, p.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT);
    a = layout(p, in, p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k);
    b = layout(p, in, p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n);
    d = layout(p, out, p.m, p.n);
  }
  Product(const Product&) = delete;
  ~Product() {
    for (const auto x : {a, b, d}) cublasLtMatrixLayoutDestroy(x);
    cublasLtMatmulDescDestroy(desc);
    cublasLtDestroy(handle);
  }

  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, T value) {
    CHECK(cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value) == CUBLAS_STATUS_SUCCESS);
  }
  static cublasLtMatrixLayout_t layout(const Case& p, cudaDataType type, int64_t rows, int64_t cols) {
    cublasLtMatrixLayout_t made = nullptr;
    const int64_t ld = rows + p.padding, stride = ld * cols;
    const auto batch = static_cast<int32_t>(p.batch);
    CHECK(cublasLtMatrixLayoutCreate(&made, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(cols),
                                     ld) == CUBLAS_STATUS_SUCCESS);
    CHECK(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch) ==
          CUBLAS_STATUS_SUCCESS);
    CHECK(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                           sizeof stride) == CUBLAS_STATUS_SUCCESS);
    return made;
  }
  // Asks for an algorithm that may take `workspace` bytes.
  cublasStatus_t choose(uint64_t workspace = 0, uint32_t alignment = 256) {
    cublasLtMatmulPreference_t preference = nullptr;
    CHECK(cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS);
    const auto wish = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      CHECK(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value) ==
            CUBLAS_STATUS_SUCCESS);
    };
    wish(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace);
    wish(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment);
    cublasLtMatmulHeuristicResult_t result{};
    int found = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle, desc, a, b, d, d, preference, 1, &result, &found);
    CHECK(found == (status == CUBLAS_STATUS_SUCCESS ? 1 : 0));
    CHECK(cublasLtMatmulPreferenceDestroy(preference) == CUBLAS_STATUS_SUCCESS);
    algorithm = result.algo;
    return status;
  }

  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
};

// Numbers in [-1, 1) that fill a T's mantissa.
template <class T>
std::vector<T> numbers(size_t count, uint32_t seed) {
  std::vector<T> values(count);
  for (T& value : values) {
    seed = seed * 1664525u + 1013904223u;
    value = T(static_cast<float>(static_cast<int32_t>(seed)) * 0x1p-31f);
  }
  return values;
}

// What the product makes of one f32 operand.
double seen(double x, cublasComputeType_t compute) {
  if (compute == CUBLAS_COMPUTE_32F_FAST_16BF) return bf16(static_cast<float>(x));
  if (compute != CUBLAS_COMPUTE_32F_FAST_TF32) return x;
  const double unit = std::ldexp(1.0, std::ilogb(x) - 10);
  return x == 0 ? 0 : std::nearbyint(x / unit) * unit;
}

// The largest error relative to the size of a sum of k terms; elements between the columns must stay.
template <class In, class Out>
void check_product(const Case& p, double tolerance) {
  using Scale = std::conditional_t<std::is_same_v<In, double>, double, float>;
  CAPTURE(p.m);
  CAPTURE(p.n);
  CAPTURE(p.k);
  CAPTURE(p.batch);
  Product product(p, kType<In>, kType<Out>, kType<Scale>);
  const int64_t lda = (p.transpose_a ? p.k : p.m) + p.padding, ldb = (p.transpose_b ? p.n : p.k) + p.padding;
  const int64_t ldd = p.m + p.padding;
  const int64_t stride_a = lda * (p.transpose_a ? p.m : p.k), stride_b = ldb * (p.transpose_b ? p.k : p.n);
  const auto a = numbers<In>(static_cast<size_t>(stride_a * p.batch), 1);
  const auto b = numbers<In>(static_cast<size_t>(stride_b * p.batch), 2);
  auto c = numbers<Out>(static_cast<size_t>(ldd * p.n * p.batch), 3);
  const auto bias = numbers<Out>(static_cast<size_t>(p.m), 4);
  if (p.beta == 0)  // then C may be anything
    for (Out& x : c) x = Out(std::numeric_limits<float>::quiet_NaN());
  const DeviceArray<In> da(a), db(b);
  const DeviceArray<Out> dc(c), dbias(bias);
  const DeviceArray<char> workspace(4096);
  if (p.bias) product.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(dbias.data()));
  CHECK(product.choose(4096) == CUBLAS_STATUS_SUCCESS);
  const auto alpha = static_cast<Scale>(p.alpha), beta = static_cast<Scale>(p.beta);
  CHECK(cublasLtMatmul(product.handle, product.desc, &alpha, da.data(), product.a, db.data(), product.b,
                       &beta, dc.data(), product.d, dc.data(), product.d, &product.algorithm,
                       workspace.data(), 4096, nullptr) == CUBLAS_STATUS_SUCCESS);
  const auto d = dc.now();
  double worst = 0;
  for (int64_t s = 0; s < p.batch; ++s)
    for (int64_t j = 0; j < p.n; ++j) {
      for (int64_t i = 0; i < p.m; ++i) {
        double sum = 0;
        for (int64_t l = 0; l < p.k; ++l)
          sum += seen(a[static_cast<size_t>(s * stride_a + (p.transpose_a ? l + i * lda : i + l * lda))],
                      p.compute) *
                 seen(b[static_cast<size_t>(s * stride_b + (p.transpose_b ? j + l * ldb : l + j * ldb))],
                      p.compute);
        const auto at = static_cast<size_t>(s * ldd * p.n + i + j * ldd);
        double expected = p.alpha * sum + (p.bias ? static_cast<double>(bias[static_cast<size_t>(i)]) : 0);
        if (p.beta != 0) expected += p.beta * c[at];
        const double error =
            std::abs(static_cast<double>(d[at]) - expected) / std::sqrt(static_cast<double>(p.k));
        if (!(error <= worst)) worst = error;  // NaN stays
      }
      for (int64_t i = p.m; i < ldd; ++i) {
        const auto at = static_cast<size_t>(s * ldd * p.n + i + j * ldd);
        const bool kept = d[at] == c[at] || (p.beta == 0 && std::isnan(static_cast<double>(d[at])));
        CHECK(kept);
      }
    }
  CHECK(worst < tolerance);
}

TEST_CASE("cuda simulator: products of every type, layout and epilogue") {
  const cublasComputeType_t f64 = CUBLAS_COMPUTE_64F;
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      for (const bool bias : {false, true}) {
        check_product<float, float>({37, 19, 65, ta, tb, bias}, 1e-6);
        check_product<float, float>({16, 8, 1, ta, tb, bias, 3, 5, 0.5, 1}, 1e-6);
        check_product<double, double>({33, 9, 31, ta, tb, bias, 2, 1, -2, 0.25, f64}, 1e-14);
        check_product<bf16, float>({33, 9, 31, ta, tb, bias, 2, 3, 1, 1}, 1e-6);
        check_product<bf16, bf16>({1, 70, 12, ta, tb, bias, 1, 1}, 1e-2);
        check_product<float, float>({20, 11, 64, ta, tb, bias, 1, 0, 1, 0, CUBLAS_COMPUTE_32F_FAST_TF32},
                                    1e-6);
        check_product<float, float>({20, 11, 64, ta, tb, bias, 1, 0, 1, 0, CUBLAS_COMPUTE_32F_FAST_16BF},
                                    1e-6);
      }
  check_product<float, float>({200, 150, 700}, 3e-6);
}

TEST_CASE("cuda simulator: what cuBLASLt refuses") {
  const Case p{8, 8, 8};
  const auto status = [&](cublasLtMatrixLayout_t Product::*which, int64_t rows, int64_t cols, int64_t padding,
                          int64_t batch, cudaDataType type) {
    Product product(p, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F);
    Case other = p;
    other.padding = padding;
    other.batch = batch;
    cublasLtMatrixLayoutDestroy(product.*which);
    product.*which = Product::layout(other, type, rows, cols);
    return product.choose();
  };
  CHECK(status(&Product::a, 8, 8, 0, 1, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS);
  CHECK(status(&Product::a, 7, 8, 0, 1, CUDA_R_32F) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(status(&Product::b, 8, 7, 0, 1, CUDA_R_32F) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(status(&Product::b, 7, 8, 0, 1, CUDA_R_32F) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(status(&Product::d, 8, 8, -1, 1, CUDA_R_32F) == CUBLAS_STATUS_INVALID_VALUE);  // ld below rows
  CHECK(status(&Product::d, 8, 8, 0, 2, CUDA_R_32F) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(status(&Product::d, 8, 8, 0, 1, CUDA_R_16BF) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(Product(p, CUDA_R_32F, CUDA_R_32F, CUDA_R_64F).choose() == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(Product({8, 8, 0}, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F).choose() == CUBLAS_STATUS_INVALID_VALUE);
  const int32_t wrong_size = 1;
  Product product(p, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F);
  CHECK(cublasLtMatrixLayoutSetAttribute(product.a, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &wrong_size,
                                         sizeof wrong_size) == CUBLAS_STATUS_INVALID_VALUE);

  // The algorithm was chosen for addresses that 256 divides, and for this workspace.
  const DeviceArray<float> x(100), y(100);
  const float one = 1, zero = 0;
  const auto run = [&](const float* a, void* workspace, size_t bytes) {
    return cublasLtMatmul(product.handle, product.desc, &one, a, product.a, x.data(), product.b, &zero,
                          y.data(), product.d, y.data(), product.d, &product.algorithm, workspace, bytes,
                          nullptr);
  };
  const DeviceArray<signed char> workspace(std::vector<signed char>(256));
  CHECK(product.choose() == CUBLAS_STATUS_SUCCESS);
  CHECK(run(x.data(), nullptr, 0) == CUBLAS_STATUS_SUCCESS);
  CHECK(run(x.data() + 4, nullptr, 0) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(product.choose(0, 16) == CUBLAS_STATUS_SUCCESS);
  CHECK(run(x.data() + 4, nullptr, 0) == CUBLAS_STATUS_SUCCESS);
  CHECK(product.choose(256) == CUBLAS_STATUS_SUCCESS);
  CHECK(run(x.data(), workspace.data(), 256) == CUBLAS_STATUS_SUCCESS);
  CHECK(workspace.now() == std::vector<signed char>(256, -1));  // the product's, to write what it likes
  CHECK(run(x.data(), workspace.data(), 255) == CUBLAS_STATUS_INVALID_VALUE);
  product.set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);  // chosen for another product
  CHECK(run(x.data(), workspace.data(), 256) == CUBLAS_STATUS_INVALID_VALUE);

  // 64 of 100 floats fit from 36 on, not from 40 on.
  const ClearedError cleared;
  CHECK(product.choose(0, 16) == CUBLAS_STATUS_SUCCESS);
  CHECK(run(x.data() + 36, nullptr, 0) == CUBLAS_STATUS_SUCCESS);
  CHECK(run(x.data() + 40, nullptr, 0) == CUBLAS_STATUS_EXECUTION_FAILED);
  CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
}

TEST_CASE("cuda simulator: products are captured, and late on a late stream") {
  const LateStream stream;
  Product product({1, 1, 1}, CUDA_R_32F, CUDA_R_32F, CUDA_R_32F);
  const DeviceArray<float> x(std::vector<float>{3}), y(std::vector<float>{1});
  CHECK(product.choose() == CUBLAS_STATUS_SUCCESS);
  const auto run = [&] {
    const float one = 1;  // read by the call, not later
    return cublasLtMatmul(product.handle, product.desc, &one, x.data(), product.a, x.data(), product.b, &one,
                          y.data(), product.d, y.data(), product.d, &product.algorithm, nullptr, 0, stream);
  };
  CHECK(run() == CUBLAS_STATUS_SUCCESS);
  CHECK(y.now() == std::vector<float>{1});
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(y.now() == std::vector<float>{10});

  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  CHECK(run() == CUBLAS_STATUS_SUCCESS);
  CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  CHECK(cudaGraphInstantiate(&exec, graph) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(y.now() == std::vector<float>{10});
  simulator::reset_statistics();
  for (int i = 0; i < 2; ++i) CHECK(cudaGraphLaunch(exec, stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
  CHECK(y.now() == std::vector<float>{28});
  CHECK(simulator::statistics().matmuls == 2);
}

}  // namespace
}  // namespace tandem
#endif
