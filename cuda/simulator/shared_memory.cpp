// Dynamic shared memory: one buffer for all blocks, its rest a guard (or out of bounds for AddressSanitizer).
#include "shared_memory.h"

#include <algorithm>
#include <cstring>

#include "device_code.h"
#include "fiber.h"

#ifdef TANDEM_SIMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace tandem::simulator {
namespace {

constexpr size_t kGuard = 256;
[[maybe_unused]] constexpr unsigned char kPattern = 0xa5;  // without AddressSanitizer
alignas(1024) unsigned char g_shared[kMaxSharedBytes + kGuard];
size_t g_bytes = 0;

}  // namespace

unsigned char* dynamic_shared() {
  return g_shared;
}

void start_shared(size_t bytes) {
  g_bytes = bytes;
#ifdef TANDEM_SIMULATOR_ASAN
  __asan_unpoison_memory_region(g_shared, sizeof g_shared);
  std::memset(g_shared, 0xff, bytes);
  __asan_poison_memory_region(g_shared + bytes, sizeof g_shared - bytes);
#else
  std::memset(g_shared, 0xff, bytes);
  std::memset(g_shared + bytes, kPattern, kGuard);
#endif
}

std::string check_shared() {
#ifndef TANDEM_SIMULATOR_ASAN
  const unsigned char* guard = g_shared + g_bytes;
  const unsigned char* damage =
      std::find_if(guard, guard + kGuard, [](unsigned char c) { return c != kPattern; });
  if (damage != guard + kGuard)
    return "it wrote at byte " + std::to_string(damage - g_shared) + " of its " + std::to_string(g_bytes) +
           " bytes of dynamic shared memory";
#endif
  return "";
}

}  // namespace tandem::simulator
