// The functions that g++ calls at each access to memory of code that is compiled with -fsanitize=thread. The names are
// those of ThreadSanitizer, whose library is not linked: here they write the access down, or do nothing where no kernel
// is counted. This file itself is compiled without that flag.
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "access_log.h"

namespace tandem::simulator {

constinit thread_local AccessLog* access_log = nullptr;

namespace {

constexpr size_t kWidest = 16;  // bytes that an instruction of a thread moves at most

// Of a structure that is wider than that, each part is an instruction of its own.
inline void note(const void* address, size_t bytes, bool write, const void* caller) {
  if (!access_log) return;
  auto at = reinterpret_cast<uintptr_t>(address);
  const auto place = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(caller));
  for (; bytes > kWidest; bytes -= kWidest, at += kWidest) access_log->push_back({at, place, kWidest, write});
  if (bytes > 0) access_log->push_back({at, place, static_cast<uint16_t>(bytes), write});
}

}  // namespace
}  // namespace tandem::simulator

#define TANDEM_NOTE(address, bytes, write) \
  tandem::simulator::note(address, bytes, write, __builtin_return_address(0))

extern "C" {

void __tsan_init() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

// The hooks of one kind of access, for reads and for writes.
#define TANDEM_HOOKS(kind, bytes)                   \
  void __tsan_##kind##read##bytes(void* address) {  \
    TANDEM_NOTE(address, bytes, false);             \
  }                                                 \
  void __tsan_##kind##write##bytes(void* address) { \
    TANDEM_NOTE(address, bytes, true);              \
  }
#define TANDEM_ACCESSES(bytes) \
  TANDEM_HOOKS(, bytes) TANDEM_HOOKS(volatile_, bytes) TANDEM_HOOKS(unaligned_, bytes)
TANDEM_ACCESSES(1)
TANDEM_ACCESSES(2)
TANDEM_ACCESSES(4)
TANDEM_ACCESSES(8)
TANDEM_ACCESSES(16)

void __tsan_read_range(void* address, size_t bytes) {
  TANDEM_NOTE(address, bytes, false);
}
void __tsan_write_range(void* address, size_t bytes) {
  TANDEM_NOTE(address, bytes, true);
}

// Host code in the same files has atomic operations, such as counts of references; kernels have none. They are done
// here, in the strongest order.
#define TANDEM_ATOMICS(bits, T)                                                                    \
  T __tsan_atomic##bits##_load(const volatile T* a, int) {                                         \
    return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                                   \
  }                                                                                                \
  void __tsan_atomic##bits##_store(volatile T* a, T v, int) {                                      \
    __atomic_store_n(a, v, __ATOMIC_SEQ_CST);                                                      \
  }                                                                                                \
  T __tsan_atomic##bits##_exchange(volatile T* a, T v, int) {                                      \
    return __atomic_exchange_n(a, v, __ATOMIC_SEQ_CST);                                            \
  }                                                                                                \
  T __tsan_atomic##bits##_fetch_add(volatile T* a, T v, int) {                                     \
    return __atomic_fetch_add(a, v, __ATOMIC_SEQ_CST);                                             \
  }                                                                                                \
  T __tsan_atomic##bits##_fetch_sub(volatile T* a, T v, int) {                                     \
    return __atomic_fetch_sub(a, v, __ATOMIC_SEQ_CST);                                             \
  }                                                                                                \
  T __tsan_atomic##bits##_fetch_and(volatile T* a, T v, int) {                                     \
    return __atomic_fetch_and(a, v, __ATOMIC_SEQ_CST);                                             \
  }                                                                                                \
  T __tsan_atomic##bits##_fetch_or(volatile T* a, T v, int) {                                      \
    return __atomic_fetch_or(a, v, __ATOMIC_SEQ_CST);                                              \
  }                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile T* a, T* expected, T v, int, int) {   \
    return __atomic_compare_exchange_n(a, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
  }                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile T* a, T* expected, T v, int, int) {     \
    return __atomic_compare_exchange_n(a, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
  }
TANDEM_ATOMICS(8, uint8_t)
TANDEM_ATOMICS(16, uint16_t)
TANDEM_ATOMICS(32, uint32_t)
TANDEM_ATOMICS(64, uint64_t)

void __tsan_atomic_thread_fence(int) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

}  // extern "C"
