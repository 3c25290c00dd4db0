// Calls of oneDNN, 2.6 and 3.x, and the primitives kept for reuse.
#include "ops/gemm_onednn.h"

#include <omp.h>

#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/check.h"
#include "ops/gemm_pack.h"

namespace tandem::cpu {
namespace {

using dnnl::memory;

const dnnl::engine& engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

struct PackedShape {
  int64_t m, n, k;
  bool accumulate;
  bool operator==(const PackedShape&) const = default;
};

struct PackedShapeHash {
  size_t operator()(const PackedShape& shape) const {
    uint64_t hash = shape.accumulate;
    for (int64_t size : {shape.m, shape.n, shape.k})
      hash = (hash ^ static_cast<uint64_t>(size)) * 0x9E3779B97F4A7C15ull;
    return hash ^ (hash >> 32);
  }
};

dnnl::matmul::primitive_desc describe(const PackedShape& shape) {
  using Type = memory::data_type;
  const memory::desc left({shape.m, shape.k}, Type::bf16, memory::dims{shape.k, 1});
  const memory::desc right({shape.k, shape.n}, Type::bf16, memory::format_tag::BA16a64b2a);
  const memory::desc c({shape.m, shape.n}, Type::f32, memory::dims{shape.n, 1});
  dnnl::primitive_attr attributes;
  // Without this a primitive owns its scratch memory and must not run on two threads at once.
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

// A primitive with its arguments, of which only the addresses change from call to call.
class PackedProduct {
 public:
  explicit PackedProduct(const PackedShape& shape) : PackedProduct(describe(shape)) {}

  void run(const dnnl::stream& stream, float* c, const bf16* left, const bf16* right) {
    left_.set_data_handle(const_cast<bf16*>(left));
    right_.set_data_handle(const_cast<bf16*>(right));
    c_.set_data_handle(c);
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, left_.get()},
                                         {DNNL_ARG_WEIGHTS, right_.get()},
                                         {DNNL_ARG_DST, c_.get()},
                                         {DNNL_ARG_SCRATCHPAD, scratch_.get()}};
    const dnnl_status_t status = dnnl_primitive_execute(primitive_.get(), stream.get(), 4, arguments);
    CHECK(status == dnnl_success, "gemm: oneDNN failed to multiply in bf16, status {}",
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

// Each thread keeps its own, so that finding one takes no lock; the code that oneDNN generated is shared
// behind them.
constexpr size_t kMaxProducts = 512;

struct ThreadProducts {
  dnnl::stream stream{engine()};
  std::unordered_map<PackedShape, PackedProduct, PackedShapeHash> products;
};

bool probe_bf16() {
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  // Names of instruction sets are not ordered and grow with the versions: these are the ones known to have no
  // bf16.
  using enum dnnl::cpu_isa;
  for (dnnl::cpu_isa without : {sse41, avx, avx2, avx2_vnni, avx512_core, avx512_core_vnni})
    if (isa == without) return false;
  try {
    SingleThreaded single;
    const std::string_view kernel = describe({64, 64, 64, false}).impl_info_str();
    return kernel.starts_with("brg");
  } catch (const dnnl::error&) {
    return false;
  }
}

}  // namespace

SingleThreaded::SingleThreaded() : outer_(omp_get_max_threads()) {
  if (outer_ != 1) omp_set_num_threads(1);  // of this thread's regions only
}
SingleThreaded::~SingleThreaded() {
  if (outer_ != 1) omp_set_num_threads(outer_);
}

void onednn_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
                  int64_t lda, const float* b, int64_t ldb, bool accumulate, float* c, int64_t ldc) {
  const dnnl_status_t status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1.0f, a,
                                          lda, b, ldb, accumulate ? 1.0f : 0.0f, c, ldc);
  CHECK(status == dnnl_success, "gemm: oneDNN failed to multiply ({}, {}) by ({}, {}) in f32, status {}", m,
        k, k, n, static_cast<int>(status));
}

bool onednn_has_bf16() {
  static const bool has = probe_bf16();
  return has;
}

void onednn_multiply_packed(float* c, const bf16* left, const bf16* right, int64_t m, int64_t n, int64_t k,
                            bool accumulate) {
  thread_local ThreadProducts thread;
  const PackedShape shape{m, n, k, accumulate};
  auto found = thread.products.find(shape);
  if (found == thread.products.end()) {
    if (thread.products.size() >= kMaxProducts) thread.products.clear();
    found = thread.products.try_emplace(shape, shape).first;
  }
  found->second.run(thread.stream, c, left, right);
}

}  // namespace tandem::cpu
