// Device and pinned memory: host memory with 0xff in it and guards around it, copies and fills.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "cuda_runtime_api.h"
#include "fiber.h"
#include "internal.h"
#include "observer.h"

namespace tandem::simulator {
namespace {

constexpr size_t kAlignment = 512;
constexpr unsigned char kPattern = 0xa5;
#ifdef TANDEM_SIMULATOR_ASAN
constexpr size_t kGuard = 0;  // AddressSanitizer has its own, around every allocation
#else
constexpr size_t kGuard = 512;
#endif

using Bytes = unsigned char*;
struct Heap {
  std::map<const unsigned char*, size_t> sizes;  // of all allocations, by their first byte

  // The allocation that holds the address, or end().
  auto find(const void* address) const {
    const auto* byte = static_cast<const unsigned char*>(address);
    auto it = sizes.upper_bound(byte);
    if (it == sizes.begin()) return sizes.end();
    --it;
    return byte < it->first + it->second ? it : sizes.end();
  }
  bool holds(const void* address, size_t count) const {
    const auto it = find(address);
    return it != sizes.end() && static_cast<const unsigned char*>(address) + count <= it->first + it->second;
  }
};

struct Memory {
  Heap device, pinned;
  size_t total = size_t{4} << 30;
  size_t used = 0;
};
Memory& memory() {
  static auto* instance = new Memory;
  return *instance;
}

cudaError_t allocate(Heap& heap, void** address, size_t size) {
  if (!address) return cudaErrorInvalidValue;
  *address = nullptr;
  if (size == 0) return cudaSuccess;
  void* base = nullptr;
  if (posix_memalign(&base, kAlignment, kGuard + size + kGuard) != 0) return cudaErrorMemoryAllocation;
  const Bytes first = static_cast<Bytes>(base) + kGuard;
  std::memset(base, kPattern, kGuard);
  std::memset(first, 0xff, size);
  std::memset(first + size, kPattern, kGuard);
  heap.sizes[first] = size;
  ++counters().mallocs;
  *address = first;
  return cudaSuccess;
}

// The damage to the guards of one allocation; repaired, so that it is told once.
std::string damage(const unsigned char* first, size_t size) {
  const auto intact = [](unsigned char c) { return c == kPattern; };
  const Bytes begin = const_cast<Bytes>(first);
  for (const Bytes guard : {begin - kGuard, begin + size}) {
    const Bytes bad = std::find_if_not(guard, guard + kGuard, intact);
    if (bad == guard + kGuard) continue;
    std::memset(guard, kPattern, kGuard);
    return "device memory of " + std::to_string(size) + " bytes was written out of bounds, at byte " +
           std::to_string(bad - begin);
  }
  return "";
}

cudaError_t release(Heap& heap, void* address) {
  const auto it = heap.sizes.find(static_cast<Bytes>(address));
  if (it == heap.sizes.end()) return cudaErrorInvalidValue;
  finish_all_streams();
  const std::string text = damage(it->first, it->second);
  if (&heap == &memory().device) memory().used -= it->second;
  heap.sizes.erase(it);
  std::free(static_cast<Bytes>(address) - kGuard);
  return text.empty() ? device_error() : fail(cudaErrorIllegalAddress, text);
}

// All copies and fills of device memory, of one byte at least, are done by these.
void copy_bytes(void* to, const void* from, size_t count) {
  if (observer()) observer()->copy(to, from, count);
  std::memcpy(to, from, count);
}
void fill_bytes(void* address, int value, size_t count) {
  if (observer()) observer()->fill(address, count);
  std::memset(address, value, count);
}

// Whether `count` bytes at the address are device memory, pinned memory, or outside of both.
bool in_bounds(const void* address, size_t count) {
  switch (place_of(address)) {
    case Place::device:
      return memory().device.holds(address, count);
    case Place::pinned:
      return memory().pinned.holds(address, count);
    case Place::pageable:
      return true;
  }
  return false;
}

bool copy_is_valid(const void* to, const void* from, size_t count, cudaMemcpyKind kind) {
  const bool to_device = place_of(to) == Place::device, from_device = place_of(from) == Place::device;
  const bool direction =
      kind == cudaMemcpyDefault ||
      (to_device == (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) &&
       from_device == (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice));
  return direction && in_bounds(to, count) && in_bounds(from, count);
}

}  // namespace

Place place_of(const void* address) {
  const Memory& m = memory();
  if (m.device.find(address) != m.device.sizes.end()) return Place::device;
  return m.pinned.find(address) != m.pinned.sizes.end() ? Place::pinned : Place::pageable;
}

bool is_device_memory(const void* address, size_t bytes) {
  return memory().device.holds(address, bytes);
}

std::pair<const void*, size_t> device_allocation(const void* address) {
  const Heap& heap = memory().device;
  const auto it = heap.find(address);
  return it == heap.sizes.end() ? std::pair<const void*, size_t>(nullptr, 0) : *it;
}

void set_memory(size_t bytes) {
  const std::lock_guard lock(mutex());
  memory().total = bytes;
}

std::string check_guards() {
  const std::lock_guard lock(mutex());
  for (const auto& [first, size] : memory().device.sizes)
    if (std::string text = damage(first, size); !text.empty()) return text;
  return "";
}

cudaError_t verify_guards() {
  const std::string text = check_guards();
  return text.empty() ? device_error() : fail(cudaErrorIllegalAddress, text);
}

}  // namespace tandem::simulator

using namespace tandem::simulator;

cudaError_t cudaMalloc(void** address, size_t size) {
  return call([&] {
    if (const cudaError_t error = forbidden_in_capture(); error != cudaSuccess) return error;
    if (device_error() != cudaSuccess) return device_error();
    Memory& m = memory();
    if (size > m.total - std::min(m.total, m.used)) return cudaErrorMemoryAllocation;
    const cudaError_t error = allocate(m.device, address, size);
    if (error == cudaSuccess) m.used += size;
    return error;
  });
}

cudaError_t cudaFree(void* address) {
  return call([&] {
    if (!address) return device_error();
    if (const cudaError_t error = forbidden_in_capture(); error != cudaSuccess) return error;
    return release(memory().device, address);
  });
}

cudaError_t cudaMallocHost(void** address, size_t size) {
  return call([&] {
    if (const cudaError_t error = forbidden_in_capture(); error != cudaSuccess) return error;
    if (device_error() != cudaSuccess) return device_error();
    return allocate(memory().pinned, address, size);
  });
}

cudaError_t cudaFreeHost(void* address) {
  return call([&] {
    if (!address) return device_error();
    if (const cudaError_t error = forbidden_in_capture(); error != cudaSuccess) return error;
    return release(memory().pinned, address);
  });
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return call([&] {
    if (!free || !total) return cudaErrorInvalidValue;
    *total = memory().total;
    *free = *total - std::min(*total, memory().used);
    return device_error();
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t count, cudaMemcpyKind kind) {
  return call([&] {
    if (const cudaError_t error = forbidden_in_capture(); error != cudaSuccess) return error;
    finish_blocking_streams();
    if (device_error() != cudaSuccess) return device_error();
    if (!copy_is_valid(to, from, count, kind)) return cudaErrorInvalidValue;
    if (count > 0) copy_bytes(to, from, count);
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t count, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return call([&] {
    if (!copy_is_valid(to, from, count, kind)) return cudaErrorInvalidValue;
    if (count == 0) return submit(stream, [] { return cudaSuccess; });
    const Operation copy = [to, from, count] {
      copy_bytes(to, from, count);
      return cudaSuccess;
    };
    const bool from_pageable = place_of(from) == Place::pageable,
               to_pageable = place_of(to) == Place::pageable;
    if ((!from_pageable && !to_pageable) || is_capturing(stream)) return submit(stream, copy);
    // Memory that is not pinned: the call returns when the host's side is done with.
    if (!to_pageable) {
      const auto* bytes = static_cast<const unsigned char*>(from);
      const auto staged = std::make_shared<const std::vector<unsigned char>>(bytes, bytes + count);
      return submit(stream, [to, staged] {
        copy_bytes(to, staged->data(), staged->size());
        return cudaSuccess;
      });
    }
    if (const cudaError_t error = submit(stream, copy); error != cudaSuccess) return error;
    return finish(stream);
  });
}

cudaError_t cudaMemset(void* address, int value, size_t count) {
  return call([&] {
    if (const cudaError_t error = forbidden_in_capture(); error != cudaSuccess) return error;
    finish_blocking_streams();
    if (device_error() != cudaSuccess) return device_error();
    if (count > 0 && !memory().device.holds(address, count)) return cudaErrorInvalidValue;
    if (count > 0) fill_bytes(address, value, count);
    return cudaSuccess;
  });
}

cudaError_t cudaMemsetAsync(void* address, int value, size_t count, cudaStream_t stream) {
  return call([&] {
    if (count > 0 && !memory().device.holds(address, count)) return cudaErrorInvalidValue;
    return submit(stream, [address, value, count] {
      if (count > 0) fill_bytes(address, value, count);
      return cudaSuccess;
    });
  });
}
