// Products through cuBLASLt, whose matrices are column-major: a row-major matrix is its transpose there, so
// that C = op(A) op(B) is asked for as C^T = op(B)^T op(A)^T.
#include "tandem/cuda/runtime/gemm.h"

#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "tandem/core/error.h"
#include "tandem/core/tensor.h"
#include "tandem/cuda/runtime/context.h"
#include "tandem/cuda/runtime/cublas.h"
#include "tandem/ops/gemm/log.h"

namespace tandem::cuda {
namespace {

cudaDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return CUDA_R_32F;
    case DType::f64:
      return CUDA_R_64F;
    case DType::bf16:
      return CUDA_R_16BF;
    default:
      throw Error("gemm: dtype " + std::string(name_of(dtype)) + " has no products on a GPU");
  }
}

cublasComputeType_t compute_type(DType dtype, MatmulPrecision precision) {
  if (dtype == DType::f64) return CUBLAS_COMPUTE_64F;
  if (dtype == DType::bf16 || precision == MatmulPrecision::f32) return CUBLAS_COMPUTE_32F;
  return precision == MatmulPrecision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F_FAST_16BF;
}

// Everything that the descriptors say but the bias's address.
using Key = std::tuple<int64_t, int64_t, int64_t, bool, bool, int64_t, int64_t, int64_t, bool, int64_t,
                       int64_t, int64_t, int64_t, MatmulPrecision, DType, DType, bool, int>;

// Addresses decide which vector loads a kernel may use: up to 16 bytes matter to the choice.
int alignment(std::initializer_list<const void*> addresses) {
  uintptr_t bits = 0;
  for (const void* address : addresses) bits |= reinterpret_cast<uintptr_t>(address);
  return static_cast<int>(bits & 15 ? bits & -bits & 15 : 16);
}

// One product's descriptors and the algorithm chosen for it.
struct Plan {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
  cublasLtMatmulAlgo_t algorithm{};

  Plan() = default;
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan() {
    if (operation) cublas().cublasLtMatmulDescDestroy(operation);
    for (cublasLtMatrixLayout_t layout : {a, b, c})
      if (layout) cublas().cublasLtMatrixLayoutDestroy(layout);
  }
};

cublasLtMatrixLayout_t make_layout(DType dtype, int64_t rows, int64_t columns, int64_t ld, int64_t batch,
                                   int64_t stride) {
  cublasLtMatrixLayout_t layout = nullptr;
  TANDEM_CUBLAS_CHECK(cublas().cublasLtMatrixLayoutCreate(
      &layout, data_type(dtype), static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), ld));
  const auto count = static_cast<int32_t>(batch);
  TANDEM_CUBLAS_CHECK(cublas().cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
                                                                &count, sizeof count));
  TANDEM_CUBLAS_CHECK(cublas().cublasLtMatrixLayoutSetAttribute(
      layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride));
  return layout;
}

template <class T>
void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  TANDEM_CUBLAS_CHECK(cublas().cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value));
}

void choose_algorithm(Plan& plan, int aligned) {
  cublasLtMatmulPreference_t wishes = nullptr;
  TANDEM_CUBLAS_CHECK(cublas().cublasLtMatmulPreferenceCreate(&wishes));
  const std::unique_ptr<cublasLtMatmulPreferenceOpaque_t,
                        decltype(CublasFunctions::cublasLtMatmulPreferenceDestroy)>
      owner(wishes, cublas().cublasLtMatmulPreferenceDestroy);
  const auto wish = [wishes](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    TANDEM_CUBLAS_CHECK(
        cublas().cublasLtMatmulPreferenceSetAttribute(wishes, attribute, &value, sizeof value));
  };
  wish(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, context().workspace_bytes);
  // A sum that is split is added in f32, never in the bf16 of the result.
  wish(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
       uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    wish(attribute, static_cast<uint32_t>(aligned));
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  TANDEM_CUBLAS_CHECK(cublas().cublasLtMatmulAlgoGetHeuristic(context().blas, plan.operation, plan.a, plan.b,
                                                              plan.c, plan.c, wishes, 1, &found, &count));
  if (count == 0) throw Error("cublas: no algorithm for this product");
  plan.algorithm = found.algo;
}

std::unique_ptr<Plan> make_plan(const Gemm& p, GemmTypes types, const void* bias, int aligned) {
  auto plan = std::make_unique<Plan>();
  const bool f64 = types.a == DType::f64;
  TANDEM_CUBLAS_CHECK(cublas().cublasLtMatmulDescCreate(&plan->operation, compute_type(types.a, p.precision),
                                                        f64 ? CUDA_R_64F : CUDA_R_32F));
  set(plan->operation, CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(plan->operation, CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (bias) {
    set(plan->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(plan->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    set(plan->operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, data_type(types.c));
  }
  plan->a =
      make_layout(types.b, p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k, p.ldb, p.batch, p.stride_b);
  plan->b =
      make_layout(types.a, p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m, p.lda, p.batch, p.stride_a);
  plan->c = make_layout(types.c, p.n, p.m, p.ldc, p.batch, p.stride_c);
  choose_algorithm(*plan, aligned);
  return plan;
}

Plan& plan_for(const Gemm& p, GemmTypes types, const void* bias, int aligned) {
  static std::mutex mutex;
  static auto& plans = *new std::map<Key, std::unique_ptr<Plan>>;  // outlives the handle's users
  const Key key{p.m,        p.n,         p.k,          p.transpose_a, p.transpose_b,   p.lda,
                p.ldb,      p.ldc,       p.accumulate, p.batch,       p.stride_a,      p.stride_b,
                p.stride_c, p.precision, types.c,      types.a,       bias != nullptr, aligned};
  const std::lock_guard lock(mutex);
  std::unique_ptr<Plan>& plan = plans[key];
  if (!plan) plan = make_plan(p, types, bias, aligned);
  return *plan;
}

std::string text_of(const Gemm& p, GemmTypes types) {
  return "(" + std::to_string(p.m) + ", " + std::to_string(p.k) + ")" + (p.transpose_a ? " transposed" : "") +
         " by (" + std::to_string(p.k) + ", " + std::to_string(p.n) + ")" +
         (p.transpose_b ? " transposed" : "") + ", batch " + std::to_string(p.batch) + ", " +
         std::string(name_of(types.a)) + " to " + std::string(name_of(types.c));
}

// Sets the rows of C to the bias, or to 0 if it is null: the product of matrices whose inner size is 0.
void fill_rows(void* c, const Gemm& p, DType dtype, const void* bias) {
  const size_t size = size_of(dtype), bytes = size * static_cast<size_t>(p.n);
  for (int64_t i = 0; i < p.batch; ++i)
    for (int64_t row = 0; row < p.m; ++row) {
      char* const to = static_cast<char*>(c) + size * static_cast<size_t>(i * p.stride_c + row * p.ldc);
      if (bias)
        TANDEM_CUDA_CHECK(cudaMemcpyAsync(to, bias, bytes, cudaMemcpyDeviceToDevice, context().compute));
      else
        TANDEM_CUDA_CHECK(cudaMemsetAsync(to, 0, bytes, context().compute));
    }
}

// Returns a copy of a bias that does not begin at a multiple of 16 bytes, and an undefined tensor for one that does. cuBLASLt
// is told how the matrices are aligned, but there is no way to tell it of the bias, which kernels may load in vectors.
Tensor aligned_copy(const void* bias, const Gemm& p, DType dtype) {
  if (!bias || alignment({bias}) == 16) return {};
  const Tensor copied({p.n}, dtype, Device::cuda());
  TANDEM_CUDA_CHECK(
      cudaMemcpyAsync(copied.raw(), bias, copied.nbytes(), cudaMemcpyDeviceToDevice, context().compute));
  return copied;
}

}  // namespace

void gemm(void* c, const void* a, const void* b, const Gemm& p, GemmTypes types, const void* bias) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  const bool bf16 = types.a == DType::bf16 || (types.a == DType::f32 && p.precision == MatmulPrecision::bf16);
  note_gemm({p.m, p.n, p.k, p.transpose_a, p.transpose_b, p.accumulate, bf16 ? DType::bf16 : types.a, false,
             p.batch});
  if (p.k == 0) {  // an empty sum, which cuBLASLt refuses
    if (p.accumulate && !bias) return;
    if (p.accumulate) throw Error("gemm: inner size 0 of " + text_of(p, types) + " with a bias to be added");
    return fill_rows(c, p, types.c, bias);
  }
  try {
    const Tensor copied = aligned_copy(bias, p, types.c);
    if (copied.defined()) bias = copied.raw();
    Plan& plan = plan_for(p, types, bias, alignment({a, b, c}));
    if (bias) set(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    const double one64 = 1, beta64 = p.accumulate ? 1 : 0;
    const float one = 1, beta = p.accumulate ? 1 : 0;
    const bool f64 = types.a == DType::f64;
    Context& gpu = context();
    TANDEM_CUBLAS_CHECK(
        cublas().cublasLtMatmul(gpu.blas, plan.operation, f64 ? static_cast<const void*>(&one64) : &one, b,
                                plan.a, a, plan.b, f64 ? static_cast<const void*>(&beta64) : &beta, c, plan.c,
                                c, plan.c, &plan.algorithm, gpu.workspace, gpu.workspace_bytes, gpu.compute));
  } catch (const Error& error) {
    throw Error(std::string("gemm ") + text_of(p, types) + ": " + error.what());
  }
}

}  // namespace tandem::cuda
