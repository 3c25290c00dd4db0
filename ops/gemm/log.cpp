// Counters of floating-point operations, and the log of matrix products.
#include "tandem/ops/gemm/log.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "tandem/core/check.h"

namespace tandem {
namespace {

std::atomic<int64_t> flops_f32{0}, flops_bf16{0}, flops_f64{0};

std::mutex log_mutex;
std::atomic<const GemmLog*> current_log{nullptr};
std::vector<GemmCall> logged;  // in the order of the calls

bool same_kind(const GemmCall& a, const GemmCall& b) {
  return a.m == b.m && a.n == b.n && a.k == b.k && a.transpose_a == b.transpose_a &&
         a.transpose_b == b.transpose_b && a.accumulate == b.accumulate && a.dtype == b.dtype &&
         a.serial == b.serial;
}

}  // namespace

GemmFlops gemm_flops() {
  return {flops_f32, flops_bf16, flops_f64};
}

GemmLog::GemmLog() {
  const std::scoped_lock lock(log_mutex);
  TANDEM_CHECK(current_log == nullptr, "GemmLog: another log is recording; one at a time");
  logged.clear();
  current_log = this;
}

GemmLog::~GemmLog() {
  current_log = nullptr;
}

std::vector<GemmCall> GemmLog::calls() const {
  std::vector<GemmCall> kinds;
  for (const GemmCall& call : sequence()) {
    const auto seen = std::find_if(kinds.begin(), kinds.end(),
                                   [&call](const GemmCall& kind) { return same_kind(kind, call); });
    if (seen == kinds.end())
      kinds.push_back(call);
    else
      seen->count += call.count;
  }
  return kinds;
}

std::vector<GemmCall> GemmLog::sequence() const {
  const std::scoped_lock lock(log_mutex);
  return logged;
}

void note_gemm(const GemmCall& call) {
  std::atomic<int64_t>& flops =
      call.dtype == DType::f32 ? flops_f32 : (call.dtype == DType::bf16 ? flops_bf16 : flops_f64);
  flops.fetch_add(2 * call.m * call.n * call.k * call.count, std::memory_order_relaxed);
  if (!current_log.load(std::memory_order_relaxed)) return;
  const std::scoped_lock lock(log_mutex);
  logged.push_back(call);
}

}  // namespace tandem
