// Stands in for CUDA's cuda_runtime.h, so that g++ compiles cuda/*.cu unchanged and they run on the CPU.
#pragma once
#include <functional>
#include <tuple>
#include <typeinfo>
#include <utility>

#include "cuda_runtime_api.h"

namespace tandem::simulator {

// Runs `thread` once for each thread of the grid. `function` and `signature` name the kernel in messages.
cudaError_t launch(const cudaLaunchConfig_t& config, const void* function, const std::type_info& signature,
                   std::function<void()> thread);

}  // namespace tandem::simulator

// As CUDA does, arguments are converted to the kernel's parameters and copied when the kernel is launched.
template <class... ExpTypes, class... ActTypes>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(ExpTypes...),
                               ActTypes&&... args) {
  static_assert((std::is_trivially_copyable_v<ExpTypes> && ...), "a kernel's parameters are copied as bytes");
  static_assert((sizeof(ExpTypes) + ... + 0) <= 32764, "CUDA passes no more bytes of parameters");
  if (!config) return cudaErrorInvalidValue;
  std::tuple<ExpTypes...> arguments(std::forward<ActTypes>(args)...);
  return tandem::simulator::launch(*config, reinterpret_cast<const void*>(kernel), typeid(void(ExpTypes...)),
                                   [kernel, arguments] { std::apply(kernel, arguments); });
}

template <class T>
cudaError_t cudaMalloc(T** address, size_t size) {
  return cudaMalloc(reinterpret_cast<void**>(address), size);
}
template <class T>
cudaError_t cudaMallocHost(T** address, size_t size) {
  return cudaMallocHost(reinterpret_cast<void**>(address), size);
}
template <class T>
cudaError_t cudaFuncSetAttribute(T* function, cudaFuncAttribute attribute, int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(function), attribute, value);
}
