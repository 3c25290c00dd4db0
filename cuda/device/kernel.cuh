// The building blocks of kernels: launches, element access, vector loads, reductions and loops over elements.
// The simulator (cuda/simulator) compiles all of this unchanged, except for dynamic_shared() and the words in
// PTX.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tandem/core/dtype.h"
#include "tandem/core/macros.h"
#include "tandem/core/math.h"
#include "tandem/core/tensor.h"
#include "tandem/cuda/runtime/context.h"

namespace tandem::cuda {

inline constexpr int kWarp = 32;

// Launches a kernel; no kernel is launched in any other way. An empty grid launches nothing. Error: CUDA
// refuses the launch.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
            Arguments&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (shared_bytes > 48 * 1024)  // more than that must be asked for
    TANDEM_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           static_cast<int>(shared_bytes)));
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  TANDEM_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...));
}

// Returns the number of blocks of `per_block` items that cover all `items`.
inline unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

// The type that elements are computed in: bf16 and f32 in f32, f64 in f64.
template <class T>
using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;

// N elements that are loaded and stored at once; they are 16 bytes if N is kVector<T>. Their address must be
// a multiple of their size. Tensors begin at multiples of 512 bytes, so the rows of a tensor are aligned if N
// divides their width.
template <class T, int N>
struct alignas(sizeof(T) * N) Vec {
  T v[N];
};
template <class T>
inline constexpr int kVector = 16 / sizeof(T);

template <class T, int N>
__device__ __forceinline__ Vec<T, N> load_vector(const T* from) {
  return *reinterpret_cast<const Vec<T, N>*>(from);
}
template <class T, int N>
__device__ __forceinline__ void store_vector(T* to, const Vec<T, N>& values) {
#ifdef __CUDA_ARCH__
  // Stores whole words of 16 or 8 bytes: nvcc may split the store of a struct into its elements.
  if constexpr (sizeof(values) % 8 == 0) {
    using Word = std::conditional_t<sizeof(values) % 16 == 0, unsigned __int128, uint64_t>;
    constexpr size_t kWords = sizeof(values) / sizeof(Word);
    uint32_t parts[sizeof(values) / 4];
    if constexpr (sizeof(T) == 2) {
#pragma unroll
      for (int k = 0; k < N; k += 2)
        parts[k / 2] = __builtin_bit_cast(uint16_t, values.v[k]) |
                       static_cast<uint32_t>(__builtin_bit_cast(uint16_t, values.v[k + 1])) << 16;
    } else if constexpr (sizeof(T) == 4) {
      // One by one: a copy of the whole array may keep it in local memory.
#pragma unroll
      for (int k = 0; k < N; ++k) parts[k] = __builtin_bit_cast(uint32_t, values.v[k]);
    } else {
      memcpy(parts, &values, sizeof(values));
    }
#pragma unroll
    for (size_t i = 0; i < kWords; ++i) {
      Word word;
      memcpy(&word, parts + i * sizeof(Word) / 4, sizeof(Word));
      reinterpret_cast<Word*>(to)[i] = word;
    }
    return;
  }
#endif
  *reinterpret_cast<Vec<T, N>*>(to) = values;
}

// Returns the shared memory whose size was given at the launch; it is 16-byte aligned.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
#ifdef TANDEM_CUDA_SIMULATED
  return reinterpret_cast<T*>(simulator::dynamic_shared());
#else
  extern __shared__ float4 tandem_dynamic_shared[];
  return reinterpret_cast<T*>(tandem_dynamic_shared);
#endif
}

// Copies 16 bytes from global to shared memory asynchronously, without using registers; if not `wanted`,
// reads nothing and writes zeros. A thread's copies since its last send_group() form a group, and after
// await_group<N>() all of its groups but the newest N have arrived. Reading what other threads have copied
// needs a barrier as well.
__device__ __forceinline__ void copy_async(void* shared, const void* global, bool wanted = true) {
#ifdef __CUDA_ARCH__
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
               "l"(__cvta_generic_to_global(global)), "r"(wanted ? 16 : 0)
               : "memory");
#else
  *static_cast<float4*>(shared) = wanted ? *static_cast<const float4*>(global) : float4{};
#endif
}
__device__ __forceinline__ void send_group() {
#ifdef __CUDA_ARCH__
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int kNewest>
__device__ __forceinline__ void await_group() {
#ifdef __CUDA_ARCH__
  asm volatile("cp.async.wait_group %0;" ::"n"(kNewest) : "memory");
#endif
}

struct Sum {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {  // NaN wins, so that it is not hidden
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};

// Reduces over the warp; every lane gets the same result. The order of the operations is fixed.
template <class T, class Op>
__device__ __forceinline__ T warp_reduce(T value, Op op) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    value = op(value, __shfl_xor_sync(0xffffffffu, value, distance));
  return value;
}

// Reduces over the block; every thread gets the same result. The order of the operations is fixed. kThreads
// is the size of the block, a multiple of 32, and every thread of it must call this. Calls may follow each
// other directly.
template <int kThreads, class T, class Op>
__device__ __forceinline__ T block_reduce(T value, Op op) {
  static_assert(kThreads % kWarp == 0 && kThreads <= 1024);
  value = warp_reduce(value, op);
  if constexpr (kThreads == kWarp) return value;
  __shared__ T parts[kThreads / kWarp];
  __syncthreads();  // a reduction before this one may still be reading
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = value;
  __syncthreads();
  T total = parts[0];
  for (int warp = 1; warp < kThreads / kWarp; ++warp) total = op(total, parts[warp]);
  return total;
}
template <int kThreads, class T>
__device__ __forceinline__ T block_sum(T value) {
  return block_reduce<kThreads>(value, Sum());
}
template <int kThreads, class T>
__device__ __forceinline__ T block_max(T value) {
  return block_reduce<kThreads>(value, Max());
}

inline constexpr int kMapThreads = 256;

template <int N, class T, class F, class... In>
__global__ void __launch_bounds__(kMapThreads) map_kernel(T* y, int64_t n, F f, const In*... xs) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * N;
  if (first + N <= n) {
    Vec<T, N> out;
    const auto all = [&](const Vec<In, N>&... in) {
#pragma unroll
      for (int k = 0; k < N; ++k)
        out.v[k] = static_cast<T>(f(first + k, static_cast<Compute<In>>(in.v[k])...));
    };
    all(load_vector<In, N>(xs + first)...);
    store_vector(y + first, out);
  } else {
    for (int64_t i = first; i < n; ++i) y[i] = static_cast<T>(f(i, static_cast<Compute<In>>(xs[i])...));
  }
}

TANDEM_HD inline bool is_aligned(const void* address, size_t bytes = 16) {
  return reinterpret_cast<uintptr_t>(address) % bytes == 0;
}

// Computes y[i] = f(i, xs[i]...) for i in 0..n-1: in vectors, 16 bytes of the widest type, or element by
// element where an address is not aligned. f is a struct with a `__device__ operator()`, which gets its
// values in Compute<In>. y may be one of xs.
template <class T, class F, class... In>
void map(T* y, int64_t n, const F& f, const In*... xs) {
  constexpr int N = static_cast<int>(16 / std::max({sizeof(T), sizeof(In)...}));
  if (is_aligned(y) && (is_aligned(xs) && ...))
    launch(map_kernel<N, T, F, In...>, blocks_for(n, int64_t{N} * kMapThreads), kMapThreads, 0,
           compute_stream(), y, n, f, xs...);
  else
    launch(map_kernel<1, T, F, In...>, blocks_for(n, kMapThreads), kMapThreads, 0, compute_stream(), y, n, f,
           xs...);
}

}  // namespace tandem::cuda
