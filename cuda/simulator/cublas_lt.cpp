// cuBLASLt's descriptors, what it refuses, and its products, which go to the CPU (matmul.cpp).
#include "cublasLt.h"

#include <algorithm>
#include <cstring>

#include "internal.h"
#include "matmul.h"
#include "observer.h"

struct cublasLtContext {};
struct cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute_type;
  cudaDataType_t scale_type;
  cublasOperation_t transpose_a = CUBLAS_OP_N;
  cublasOperation_t transpose_b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  int32_t bias_type = -1;
};
struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType_t type;
  int64_t rows, cols, ld;
  int32_t batch = 1;
  int64_t stride = 0;
};
struct cublasLtMatmulPreferenceOpaque_t {
  uint64_t workspace = 0;
  uint32_t reduction_schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
  uint32_t alignment[4] = {256, 256, 256, 256};  // of A, B, C and D
};

namespace tandem::simulator {
namespace {

using Layout = cublasLtMatrixLayoutOpaque_t;
using Desc = cublasLtMatmulDescOpaque_t;

Products g_products = Products::computed;

constexpr uint64_t kWorkspaceBytes = 64 * 1024;  // what the one algorithm takes, if it may

// What the heuristic says of its one algorithm, to be kept to when it runs.
struct Algorithm {
  uint64_t workspace;
  uint32_t alignment[4];
  uint32_t splits;   // 1: it adds two halves of each sum in the type of D, because it may
  uint64_t problem;  // the shapes that it was asked for
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

bool is_f32_type(cublasComputeType_t type) {
  return type == CUBLAS_COMPUTE_32F || type == CUBLAS_COMPUTE_32F_FAST_TF32 ||
         type == CUBLAS_COMPUTE_32F_FAST_16BF;
}

// The combinations of types in cuBLASLt's tables, of those that Tandem has.
bool types_supported(const Desc& desc, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  if (a.type != b.type || c.type != d.type) return false;
  if (desc.epilogue == CUBLASLT_EPILOGUE_BIAS && desc.bias_type != -1 && desc.bias_type != d.type)
    return false;
  if (desc.compute_type == CUBLAS_COMPUTE_64F)
    return desc.scale_type == CUDA_R_64F && a.type == CUDA_R_64F && d.type == CUDA_R_64F;
  if (!is_f32_type(desc.compute_type) || desc.scale_type != CUDA_R_32F) return false;
  if (a.type == CUDA_R_32F) return d.type == CUDA_R_32F;
  return a.type == CUDA_R_16BF && desc.compute_type == CUBLAS_COMPUTE_32F &&
         (d.type == CUDA_R_16BF || d.type == CUDA_R_32F);
}

// Computes a product as an algorithm may that adds the parts of a sum in the type of D.
void compute_in_halves(const Matmul& product) {
  Matmul first = product, second = product;
  first.k = product.k / 2;
  second.k = product.k - first.k;
  second.c = product.d;
  second.beta = 1;
  second.bias = nullptr;
  const auto skip = [&first](Matrix& matrix, bool k_is_down) {
    const int64_t elements = k_is_down ? first.k : first.k * matrix.ld;
    matrix.data = static_cast<char*>(matrix.data) + static_cast<size_t>(elements) * bytes_of(matrix.element);
  };
  skip(second.a, product.transpose_a);
  skip(second.b, !product.transpose_b);
  compute(first);
  compute(second);
}

cublasStatus_t check(const Desc& desc, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  for (const Layout* layout : {&a, &b, &c, &d})
    if (layout->rows <= 0 || layout->cols <= 0 || layout->ld < layout->rows || layout->batch < 1 ||
        layout->batch != a.batch || layout->stride < 0)
      return CUBLAS_STATUS_INVALID_VALUE;
  const bool ta = desc.transpose_a == CUBLAS_OP_T, tb = desc.transpose_b == CUBLAS_OP_T;
  if ((ta ? a.cols : a.rows) != d.rows || (tb ? b.rows : b.cols) != d.cols ||
      (ta ? a.rows : a.cols) != (tb ? b.cols : b.rows) || c.rows != d.rows || c.cols != d.cols)
    return CUBLAS_STATUS_INVALID_VALUE;
  return types_supported(desc, a, b, c, d) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

// A number that differs for problems which differ in what an algorithm may depend on.
uint64_t problem_of(const Desc& desc, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a, a word at a time
  const auto add = [&hash](int64_t value) { hash = (hash ^ static_cast<uint64_t>(value)) * 1099511628211u; };
  for (const int64_t value : {int64_t{desc.compute_type}, int64_t{desc.transpose_a},
                              int64_t{desc.transpose_b}, int64_t{desc.epilogue}})
    add(value);
  for (const Layout* layout : {&a, &b, &c, &d})
    for (const int64_t value : {int64_t{layout->type}, layout->rows, layout->cols, layout->ld,
                                int64_t{layout->batch}, layout->stride})
      add(value);
  return hash;
}

Element element_of(cudaDataType_t type) {
  return type == CUDA_R_64F ? Element::f64 : type == CUDA_R_32F ? Element::f32 : Element::bf16;
}

Matrix matrix_of(const void* data, const Layout& layout) {
  return {const_cast<void*>(data), element_of(layout.type), layout.ld, layout.stride};
}

// Whether all of the matrices lie in one allocation of the device: a GPU would stop at an illegal address.
bool on_device(const Matrix& matrix, const Layout& layout) {
  const int64_t elements = (layout.batch - 1) * layout.stride + (layout.cols - 1) * layout.ld + layout.rows;
  return is_device_memory(matrix.data, static_cast<size_t>(elements) * bytes_of(matrix.element));
}

// Whether every column of the matrices begins at a multiple of 16 bytes from their begin, which fast kernels need.
bool has_vector_columns(const Layout& layout) {
  return layout.ld * static_cast<int64_t>(bytes_of(element_of(layout.type))) % 16 == 0;
}

bool is_aligned(const void* address, uint32_t bytes) {
  return reinterpret_cast<uintptr_t>(address) % bytes == 0;
}

template <class T>
cublasStatus_t assign(T& field, const void* value, size_t size) {
  if (!value || size != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&field, value, sizeof(T));
  return CUBLAS_STATUS_SUCCESS;
}

template <class T, class... Fields>
cublasStatus_t create(T** made, Fields... fields) {
  if (!made) return CUBLAS_STATUS_INVALID_VALUE;
  *made = new T{fields...};
  return CUBLAS_STATUS_SUCCESS;
}

template <class T>
cublasStatus_t destroy(T* made) {
  if (!made) return CUBLAS_STATUS_INVALID_VALUE;
  delete made;
  return CUBLAS_STATUS_SUCCESS;
}

double scalar(const void* value, cudaDataType_t type) {
  return type == CUDA_R_64F ? *static_cast<const double*>(value) : *static_cast<const float*>(value);
}

}  // namespace

void set_products(Products products) {
  const std::lock_guard lock(mutex());
  g_products = products;
}
}  // namespace tandem::simulator

using namespace tandem::simulator;

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "the operation completed successfully";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "the library was not initialized";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "an unsupported value or parameter was passed to the function";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "the GPU program failed to execute";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "the functionality requested is not supported";
    default:
      return "an internal operation failed";
  }
}
const char* cublasGetStatusString(cublasStatus_t status) {
  return cublasLtGetStatusString(status);
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  return create(handle);
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  return destroy(handle);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t compute_type,
                                        cudaDataType_t scale_type) {
  return create(desc, compute_type, scale_type);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  return destroy(desc);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              size_t size) {
  if (!desc) return CUBLAS_STATUS_INVALID_VALUE;
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return assign(desc->transpose_a, value, size);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return assign(desc->transpose_b, value, size);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return assign(desc->epilogue, value, size);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return assign(desc->bias, value, size);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return assign(desc->bias_type, value, size);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
  return create(layout, type, static_cast<int64_t>(rows), static_cast<int64_t>(cols), ld);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return destroy(layout);
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t size) {
  if (!layout) return CUBLAS_STATUS_INVALID_VALUE;
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return assign(layout->batch, value, size);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return assign(layout->stride, value, size);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return create(preference);
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return destroy(preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t size) {
  if (!preference) return CUBLAS_STATUS_INVALID_VALUE;
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return assign(preference->workspace, value, size);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return assign(preference->reduction_schemes, value, size);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return assign(preference->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value,
                    size);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* found) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!desc || !a || !b || !c || !d || !preference || requested < 1 || !results || !found)
    return CUBLAS_STATUS_INVALID_VALUE;
  *found = 0;
  if (const cublasStatus_t status = check(*desc, *a, *b, *c, *d); status != CUBLAS_STATUS_SUCCESS)
    return status;
  Algorithm algorithm{
      std::min(preference->workspace, kWorkspaceBytes), {}, 0, problem_of(*desc, *a, *b, *c, *d)};
  algorithm.splits = (preference->reduction_schemes &
                      (CUBLASLT_REDUCTION_SCHEME_INPLACE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE)) != 0;
  std::copy_n(preference->alignment, 4, algorithm.alignment);
  results[0] = {};
  std::memcpy(&results[0].algo, &algorithm, sizeof algorithm);
  results[0].workspaceSize = algorithm.workspace;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  results[0].wavesCount = 1;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algo, void* workspace, size_t workspace_size,
                              cudaStream_t stream) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!desc || !alpha || !a || !a_layout || !b || !b_layout || !beta || !c_layout || !d || !d_layout)
    return CUBLAS_STATUS_INVALID_VALUE;
  const Layout la = *a_layout, lb = *b_layout, lc = *c_layout, ld = *d_layout;
  if (const cublasStatus_t status = check(*desc, la, lb, lc, ld); status != CUBLAS_STATUS_SUCCESS)
    return status;
  const bool with_bias = desc->epilogue == CUBLASLT_EPILOGUE_BIAS;
  const double beta_value = scalar(beta, desc->scale_type);
  // No attribute says how a bias is aligned, so kernels may take it to begin as memory from cudaMalloc does.
  if (with_bias && !is_aligned(desc->bias, 16)) return CUBLAS_STATUS_INVALID_VALUE;
  if ((with_bias && !desc->bias) || (beta_value != 0 && !c)) return CUBLAS_STATUS_INVALID_VALUE;
  if (c == d && (lc.ld != ld.ld || lc.stride != ld.stride)) return CUBLAS_STATUS_INVALID_VALUE;
  Algorithm algorithm{};
  if (algo) {
    std::memcpy(&algorithm, algo, sizeof algorithm);
    const void* addresses[] = {a, b, c, d};
    for (int i = 0; i < 4; ++i)
      if (addresses[i] && !is_aligned(addresses[i], std::max(1u, algorithm.alignment[i])))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (algorithm.problem != problem_of(*desc, la, lb, lc, ld) || algorithm.workspace > workspace_size ||
        (algorithm.workspace > 0 && (!workspace || !is_aligned(workspace, 16))))
      return CUBLAS_STATUS_INVALID_VALUE;
  }
  const bool transpose_a = desc->transpose_a == CUBLAS_OP_T;
  const Matmul product{ld.rows,
                       ld.cols,
                       transpose_a ? la.rows : la.cols,
                       ld.batch,
                       transpose_a,
                       desc->transpose_b == CUBLAS_OP_T,
                       desc->compute_type == CUBLAS_COMPUTE_32F_FAST_TF32   ? Rounding::tf32
                       : desc->compute_type == CUBLAS_COMPUTE_32F_FAST_16BF ? Rounding::bf16
                                                                            : Rounding::none,
                       matrix_of(a, la),
                       matrix_of(b, lb),
                       matrix_of(c, lc),
                       matrix_of(d, ld),
                       scalar(alpha, desc->scale_type),
                       beta_value,
                       with_bias ? desc->bias : nullptr};
  const cudaError_t error = call([&] {
    return submit(
        stream,
        [product, la, lb, lc, ld, workspace, used = algorithm.workspace,
         splits = algorithm.splits]() -> cudaError_t {
          const size_t bias_bytes = static_cast<size_t>(product.m) * bytes_of(product.d.element);
          if (!on_device(product.a, la) || !on_device(product.b, lb) || !on_device(product.d, ld) ||
              (product.beta != 0 && !on_device(product.c, lc)) ||
              (product.bias && !is_device_memory(product.bias, bias_bytes)) ||
              (used > 0 && !is_device_memory(workspace, used)))
            return fail(
                cudaErrorIllegalAddress,
                "cublasLtMatmul: a matrix, its bias or its workspace does not lie within device memory");
          ++counters().matmuls;
          if (!has_vector_columns(la) || !has_vector_columns(lb) || !has_vector_columns(ld))
            ++counters().odd_matmuls;
          if (used > 0) std::memset(workspace, 0xff, used);
          if (observer()) observer()->multiply(product);
          if (g_products == Products::zeros)
            skip(product);
          else if (splits && product.k > 1)
            compute_in_halves(product);
          else
            compute(product);
          return cudaSuccess;
        });
  });
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
