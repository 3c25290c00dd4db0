// Calls of oneDNN, versions 2.6 and 3.x; its primitives are kept for reuse.
#include "tandem/ops/gemm/onednn.h"

#include <omp.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tandem/core/check.h"
#include "tandem/ops/gemm/pack.h"

namespace tandem::cpu {
namespace {

using dnnl::memory;

const dnnl::engine& engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

enum class Result { f32, bf16, i32 };  // f32 and bf16: bf16 operands; i32: 8-bit operands

struct PackedShape {
  int64_t m, n, k;
  bool accumulate;
  Result result;
  bool operator==(const PackedShape&) const = default;
};

struct PackedShapeHash {
  size_t operator()(const PackedShape& shape) const {
    uint64_t hash = 2 * static_cast<uint64_t>(shape.result) + shape.accumulate;
    for (int64_t size : {shape.m, shape.n, shape.k})
      hash = (hash ^ static_cast<uint64_t>(size)) * 0x9E3779B97F4A7C15ull;
    return hash ^ (hash >> 32);
  }
};

dnnl::matmul::primitive_desc describe(const PackedShape& shape) {
  using Type = memory::data_type;
  using Tag = memory::format_tag;
  const bool int8 = shape.result == Result::i32;
  const Type result = int8 ? Type::s32 : shape.result == Result::bf16 ? Type::bf16 : Type::f32;
  const memory::desc left({shape.m, shape.k}, int8 ? Type::u8 : Type::bf16, memory::dims{shape.k, 1});
  const memory::desc right({shape.k, shape.n}, int8 ? Type::s8 : Type::bf16,
                           int8 ? Tag::BA16a64b4a : Tag::BA16a64b2a);
  const memory::desc c({shape.m, shape.n}, result, memory::dims{shape.n, 1});
  dnnl::primitive_attr attributes;
  // By default a primitive owns its scratch memory and must not run on two threads at once.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (shape.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
#if DNNL_VERSION_MAJOR >= 3
  return dnnl::matmul::primitive_desc(engine(), left, right, c, attributes);
#else
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(left, right, c), attributes, engine());
#endif
}

[[noreturn]] void fail_without_memory(const char* what) {
  throw OutOfMemory(
      fmt::format("cpu: out of memory: the system has none left for {} of oneDNN; raise the limit of "
                  "this process, or use a smaller model or batch",
                  what));
}

// Throws OutOfMemory if the system would not give oneDNN memory for the code of new kernels: version 2.6 then writes to
// a null pointer. The kernels of one product take far less than this.
void check_code_memory() {
  constexpr size_t kBytes = size_t{16} << 20;
  void* const probe =
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (probe == MAP_FAILED) fail_without_memory("the code of a matrix product");
  munmap(probe, kBytes);
}

// oneDNN makes the code of an f32 product when one of its kind and size is computed for the first time, so that is when
// this checks the memory for it.
void check_sgemm_memory(bool transpose_a, bool transpose_b, bool accumulate, int64_t operations) {
  constexpr size_t kSizes = 64;
  static std::array<std::atomic<bool>, 8 * kSizes> checked;
  const size_t kind = (transpose_a ? 1 : 0) + (transpose_b ? 2 : 0) + (accumulate ? 4 : 0);
  std::atomic<bool>& before =
      checked[kind * kSizes + std::bit_width(static_cast<uint64_t>(operations)) % kSizes];
  if (before.load(std::memory_order_relaxed)) return;
  check_code_memory();
  before.store(true, std::memory_order_relaxed);
}

// A primitive with its arguments. Only their addresses change from call to call.
class PackedProduct {
 public:
  explicit PackedProduct(const PackedShape& shape) : PackedProduct(describe(shape)) {}

  void run(const dnnl::stream& stream, void* c, const void* left, const void* right) {
    left_.set_data_handle(const_cast<void*>(left));
    right_.set_data_handle(const_cast<void*>(right));
    c_.set_data_handle(c);
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, left_.get()},
                                         {DNNL_ARG_WEIGHTS, right_.get()},
                                         {DNNL_ARG_DST, c_.get()},
                                         {DNNL_ARG_SCRATCHPAD, scratch_.get()}};
    const dnnl_status_t status = dnnl_primitive_execute(primitive_.get(), stream.get(), 4, arguments);
    if (status == dnnl_out_of_memory) fail_without_memory("a product of packed operands");
    TANDEM_CHECK(status == dnnl_success, "gemm: oneDNN failed to multiply packed operands, status {}",
                 static_cast<int>(status));
  }

 private:
  explicit PackedProduct(const dnnl::matmul::primitive_desc& description)
      : primitive_(description),
        left_(description.src_desc(), engine(), nullptr),
        right_(description.weights_desc(), engine(), nullptr),
        c_(description.dst_desc(), engine(), nullptr),
        scratch_(description.scratchpad_desc(), engine()) {}

  dnnl::matmul primitive_;
  memory left_, right_, c_, scratch_;
};

constexpr size_t kMaxProducts = 512;

// The primitives of one thread, found without a lock. oneDNN shares the generated code among threads.
struct ThreadProducts {
  dnnl::stream stream{engine()};
  std::unordered_map<PackedShape, PackedProduct, PackedShapeHash> products;
};

// True if oneDNN has a kernel of its own for packed operands with this result, not only its reference code.
bool has_kernel(Result result) {
  try {
    const SingleThreaded single;
    const std::string_view kernel = describe({64, 64, 64, false, result}).impl_info_str();
    return kernel.starts_with("brg");
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) fail_without_memory("a product of packed operands");
    return false;
  }
}

bool is_one_of(dnnl::cpu_isa isa, std::initializer_list<dnnl::cpu_isa> sets) {
  return std::find(sets.begin(), sets.end(), isa) != sets.end();
}

// The names of instruction sets are not ordered, and every version adds some. So the probes list the sets
// that lack the instructions.
using enum dnnl::cpu_isa;

bool probe_bf16() {
  return !is_one_of(dnnl::get_effective_cpu_isa(),
                    {sse41, avx, avx2, avx2_vnni, avx512_core, avx512_core_vnni}) &&
         has_kernel(Result::f32) && has_kernel(Result::bf16);
}

bool probe_int8() {
  return !is_one_of(dnnl::get_effective_cpu_isa(), {sse41, avx, avx2, avx512_core}) &&
         has_kernel(Result::i32);
}

// Returns the calling thread's primitive for this shape.
PackedProduct& product_for(ThreadProducts& thread, const PackedShape& shape) {
  const auto found = thread.products.find(shape);
  if (found != thread.products.end()) return found->second;
  if (thread.products.size() >= kMaxProducts) thread.products.clear();
  check_code_memory();
  return thread.products.try_emplace(shape, shape).first->second;
}

void multiply_packed(const PackedShape& shape, void* c, const void* left, const void* right) {
  try {
    thread_local ThreadProducts thread;
    product_for(thread, shape).run(thread.stream, c, left, right);
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) fail_without_memory("a product of packed operands");
    detail::fail("gemm: oneDNN failed to prepare a product ({}, {}) by ({}, {}): {}", shape.m, shape.k,
                 shape.k, shape.n, error.what());
  }
}

}  // namespace

SingleThreaded::SingleThreaded() : outer_(omp_get_max_threads()) {
  if (outer_ != 1) omp_set_num_threads(1);  // affects the regions of this thread only
}
SingleThreaded::~SingleThreaded() {
  if (outer_ != 1) omp_set_num_threads(outer_);
}

void onednn_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
                  int64_t lda, const float* b, int64_t ldb, bool accumulate, float* c, int64_t ldc) {
  check_sgemm_memory(transpose_a, transpose_b, accumulate, m * n * k);
  const dnnl_status_t status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1.0f, a,
                                          lda, b, ldb, accumulate ? 1.0f : 0.0f, c, ldc);
  if (status == dnnl_out_of_memory) fail_without_memory("an f32 product");
  TANDEM_CHECK(status == dnnl_success,
               "gemm: oneDNN failed to multiply ({}, {}) by ({}, {}) in f32, status {}", m, k, k, n,
               static_cast<int>(status));
}

bool onednn_has_bf16() {
  static const bool has = probe_bf16();
  return has;
}

bool onednn_has_int8() {
  static const bool has = probe_int8();
  return has;
}

void onednn_multiply_packed(float* c, const bf16* left, const bf16* right, int64_t m, int64_t n, int64_t k,
                            bool accumulate) {
  multiply_packed({m, n, k, accumulate, Result::f32}, c, left, right);
}

void onednn_multiply_packed(bf16* c, const bf16* left, const bf16* right, int64_t m, int64_t n, int64_t k) {
  multiply_packed({m, n, k, false, Result::bf16}, c, left, right);
}

void onednn_multiply_int8(int32_t* c, const uint8_t* left, const int8_t* right, int64_t m, int64_t n,
                          int64_t k) {
  multiply_packed({m, n, k, false, Result::i32}, c, left, right);
}

}  // namespace tandem::cpu
