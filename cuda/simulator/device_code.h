// What kernels use of CUDA's language: qualifiers, vector types, indices, barriers, warp operations, atomics.
// Names and signatures are CUDA's; what is not here, kernels of this repository do not use.
#pragma once
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __shared__ static  // blocks run one after the other, so one copy serves them all
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct __align__(8) float2 {
  float x, y;
};
struct __align__(16) float4 {
  float x, y, z, w;
};
struct __align__(8) int2 {
  int x, y;
};
struct __align__(16) int4 {
  int x, y, z, w;
};
struct __align__(8) uint2 {
  unsigned x, y;
};
struct uint3 {
  unsigned x, y, z;
};
struct __align__(16) uint4 {
  unsigned x, y, z, w;
};
struct __align__(16) double2 {
  double x, y;
};
inline float2 make_float2(float x, float y) {
  return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}
inline int2 make_int2(int x, int y) {
  return {x, y};
}
inline int4 make_int4(int x, int y, int z, int w) {
  return {x, y, z, w};
}
inline uint2 make_uint2(unsigned x, unsigned y) {
  return {x, y};
}
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) {
  return {x, y, z};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}
inline double2 make_double2(double x, double y) {
  return {x, y};
}

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return uint3{x, y, z}; }
};

// Set by the scheduler whenever it goes from one thread to another.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace tandem::simulator {

// The block's dynamic shared memory, 16-byte aligned; 0xff everywhere when the block starts.
unsigned char* dynamic_shared();

// Waits until all threads of the block are here.
void barrier();

// Waits until all lanes of the mask are here with the same operation; then each sees the values of all, until
// its next operation. `source` is the lane whose value the caller will take, and must be in the mask.
const uint64_t* exchange(const char* operation, unsigned mask, uint64_t value, int source);
int lane();

template <class T>
T shuffle(const char* operation, unsigned mask, T value, int source) {
  static_assert(std::is_trivially_copyable_v<T>);
  static_assert(sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = exchange(operation, mask, bits, source)[source];
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

inline unsigned ballot(const char* operation, unsigned mask, bool predicate) {
  const uint64_t* values = exchange(operation, mask, predicate, lane());
  unsigned result = 0;
  for (int i = 0; i < warpSize; ++i)
    if ((mask >> i & 1) && values[i]) result |= 1u << i;
  return result;
}

template <class T>
concept Atomic = std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, unsigned long long>;

}  // namespace tandem::simulator

inline void __syncthreads() {
  tandem::simulator::barrier();
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  tandem::simulator::exchange("__syncwarp", mask, 0, tandem::simulator::lane());
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// Shuffles over the whole warp (CUDA's last parameter, width, is left out: it is 32).
template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
  return tandem::simulator::shuffle("__shfl_sync", mask, value, source & 31);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return tandem::simulator::shuffle("__shfl_xor_sync", mask, value, (tandem::simulator::lane() ^ bits) & 31);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta) {
  const unsigned lane = tandem::simulator::lane();
  const unsigned source = delta < 32 - lane ? lane + delta : lane;
  return tandem::simulator::shuffle("__shfl_down_sync", mask, value, static_cast<int>(source));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta) {
  const unsigned lane = tandem::simulator::lane();
  const unsigned source = delta <= lane ? lane - delta : lane;
  return tandem::simulator::shuffle("__shfl_up_sync", mask, value, static_cast<int>(source));
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return tandem::simulator::ballot("__ballot_sync", mask, predicate != 0);
}
inline int __any_sync(unsigned mask, int predicate) {
  return tandem::simulator::ballot("__any_sync", mask, predicate != 0) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return tandem::simulator::ballot("__all_sync", mask, predicate != 0) == mask;
}

// Integers only: sums of floats would depend on the order of the threads.
template <tandem::simulator::Atomic T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = value;
  return old;
}
template <tandem::simulator::Atomic T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  // Through unsigned, for a GPU's sums wrap.
  using U = std::make_unsigned_t<T>;
  return atomicExch(address, static_cast<T>(static_cast<U>(*address) + static_cast<U>(value)));
}
template <tandem::simulator::Atomic T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return atomicExch(address, *address < value ? value : *address);
}
template <tandem::simulator::Atomic T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return atomicExch(address, value < *address ? value : *address);
}
template <tandem::simulator::Atomic T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return atomicExch(address, *address == expected ? value : *address);
}

// The fast ones are exact here: results differ from a GPU's in the last bits. The C library has declared an
// __expf and a __logf of its own, hence macros.
#define __expf(x) ::std::exp(static_cast<float>(x))
#define __logf(x) ::std::log(static_cast<float>(x))
inline float __fdividef(float x, float y) {
  return x / y;
}
inline float __frcp_rn(float x) {
  return 1.0f / x;
}
inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline double rsqrt(double x) {
  return 1.0 / std::sqrt(x);
}
inline unsigned __float_as_uint(float x) {
  return __builtin_bit_cast(unsigned, x);
}
inline float __uint_as_float(unsigned x) {
  return __builtin_bit_cast(float, x);
}
inline int __float_as_int(float x) {
  return __builtin_bit_cast(int, x);
}
inline float __int_as_float(int x) {
  return __builtin_bit_cast(float, x);
}
inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
template <class T>
T __ldg(const T* address) {
  return *address;
}
