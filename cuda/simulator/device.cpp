// The simulated device's properties, and what a launch is checked for.
#include <cstdlib>
#include <cstring>
#include <map>

#include "cuda_profiler_api.h"
#include "cuda_runtime.h"
#include "internal.h"
#include "shared_memory.h"

namespace tandem::simulator {
namespace {

constexpr size_t kSharedBytesWithoutOptIn = 48 * 1024;
constexpr unsigned kMaxThreads = 1024;

// The dynamic shared memory of each kernel that asked for more than 48 KiB.
std::map<const void*, size_t>& shared_limits() {
  static auto* limits = new std::map<const void*, size_t>;
  return *limits;
}

// One; none with TANDEM_SIMULATOR_DEVICES=0, to see what a program does then.
int device_count() {
  const char* count = std::getenv("TANDEM_SIMULATOR_DEVICES");
  return count ? std::atoi(count) : 1;
}

bool valid(const cudaLaunchConfig_t& config, const void* function) {
  const dim3 grid = config.gridDim, block = config.blockDim;
  const auto own = shared_limits().find(function);
  const size_t shared_limit = own == shared_limits().end() ? kSharedBytesWithoutOptIn : own->second;
  return grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= 0x7fffffffu && grid.y <= 65535 &&
         grid.z <= 65535 && block.x > 0 && block.y > 0 && block.z > 0 && block.x <= kMaxThreads &&
         block.y <= kMaxThreads && block.z <= 64 && block.x * block.y * block.z <= kMaxThreads &&
         config.dynamicSmemBytes <= shared_limit;
}

}  // namespace

cudaError_t launch(const cudaLaunchConfig_t& config, const void* function, const std::type_info& signature,
                   std::function<void()> thread) {
  return call([&] {
    if (!function) return cudaErrorInvalidValue;
    if (!valid(config, function)) return cudaErrorInvalidConfiguration;
    if (config.numAttrs != 0) return cudaErrorNotSupported;
    const Grid grid{config.gridDim, config.blockDim, config.dynamicSmemBytes,
                    function,       &signature,      std::move(thread)};
    return submit(config.stream, [grid] { return run(grid); });
  });
}

}  // namespace tandem::simulator

using namespace tandem::simulator;

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  return call([&] {
    if (!function || attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
        static_cast<size_t>(value) > kMaxSharedBytes)
      return cudaErrorInvalidValue;
    shared_limits()[function] = static_cast<size_t>(value);
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceCount(int* count) {
  return call([&] {
    if (!count) return cudaErrorInvalidValue;
    *count = device_count();
    return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
  });
}

cudaError_t cudaSetDevice(int device) {
  return call([&] { return device >= 0 && device < device_count() ? cudaSuccess : cudaErrorInvalidDevice; });
}

cudaError_t cudaGetDevice(int* device) {
  return call([&] {
    if (!device) return cudaErrorInvalidValue;
    *device = 0;
    return device_count() > 0 ? cudaSuccess : cudaErrorNoDevice;
  });
}

// Those of an H100 where they matter to a program; memory is what set_memory() says.
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  return call([&] {
    if (!properties) return cudaErrorInvalidValue;
    if (device < 0 || device >= device_count()) return cudaErrorInvalidDevice;
    *properties = {};
    std::strcpy(properties->name, "simulated GPU");
    properties->totalGlobalMem = total;
    properties->sharedMemPerBlock = kSharedBytesWithoutOptIn;
    properties->sharedMemPerBlockOptin = kMaxSharedBytes;
    properties->sharedMemPerMultiprocessor = kMaxSharedBytes + 1024;
    properties->warpSize = warpSize;
    properties->maxThreadsPerBlock = kMaxThreads;
    properties->maxThreadsPerMultiProcessor = 2048;
    properties->major = 9;
    properties->minor = 0;
    properties->multiProcessorCount = 132;
    properties->l2CacheSize = 50 << 20;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device); error != cudaSuccess)
    return error;
  return call([&] {
    if (!value) return cudaErrorInvalidValue;
    switch (attribute) {
      case cudaDevAttrMaxThreadsPerBlock:
        *value = properties.maxThreadsPerBlock;
        return cudaSuccess;
      case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = static_cast<int>(properties.sharedMemPerBlock);
        return cudaSuccess;
      case cudaDevAttrWarpSize:
        *value = properties.warpSize;
        return cudaSuccess;
      case cudaDevAttrMultiProcessorCount:
        *value = properties.multiProcessorCount;
        return cudaSuccess;
      case cudaDevAttrL2CacheSize:
        *value = properties.l2CacheSize;
        return cudaSuccess;
      case cudaDevAttrMaxThreadsPerMultiProcessor:
        *value = properties.maxThreadsPerMultiProcessor;
        return cudaSuccess;
      case cudaDevAttrComputeCapabilityMajor:
        *value = properties.major;
        return cudaSuccess;
      case cudaDevAttrComputeCapabilityMinor:
        *value = properties.minor;
        return cudaSuccess;
      case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = static_cast<int>(properties.sharedMemPerMultiprocessor);
        return cudaSuccess;
      case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = static_cast<int>(properties.sharedMemPerBlockOptin);
        return cudaSuccess;
    }
    return cudaErrorInvalidValue;
  });
}

cudaError_t cudaDriverGetVersion(int* version) {
  return call([&] { return version ? (*version = CUDART_VERSION, cudaSuccess) : cudaErrorInvalidValue; });
}

cudaError_t cudaProfilerStart() {
  return call([] { return profiling() = true, cudaSuccess; });
}

cudaError_t cudaProfilerStop() {
  return call([] { return profiling() = false, cudaSuccess; });
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  return cudaDriverGetVersion(version);
}
