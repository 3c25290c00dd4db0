// Building blocks of the recurrences' kernels: a thread computes one column of one batch row over all time
// steps.
//
// Time is sequential, so only B D threads are there to hide the latency of memory. Each block is one warp,
// and while it computes a chunk of time steps, the next kStages - 1 chunks are being copied to shared memory.
// Prefetching into registers would cost a load and two additions for each element; here one instruction of a
// warp copies 512 bytes. The code of a chunk is free of branches, so that other work fills the time in which
// the chain from state to state waits.
#pragma once
#include "tandem/cuda/device/kernel.cuh"
#include "tandem/ops/support/data_or_null.h"

namespace tandem::cuda {

inline constexpr int kStages = 4;

// The rows of a tensor (T, B, ...), or of one plane of it: the distances, in elements, from one batch row to
// the next and from a time step to the one computed after it. The latter is negative in backward, and 0 if
// one row serves all time steps.
template <class T>
struct Rows {
  T* first;
  int64_t batch, step;
};

// The column that a lane computes: its index in (B D), and in (B, D).
struct Column {
  int64_t at, b, j;

  __device__ Column(int64_t at, int64_t width) : at(at), b(at / width), j(at % width) {}
  template <class U>
  __device__ __forceinline__ U* in(const Rows<U>& rows) const {
    return rows.first + b * rows.batch + j;
  }
};

// A lane's share of the 32 columns of its warp. It computes one of them; lanes beyond the last column compute
// the last one again, so that no step needs a test. And it copies: 16 bytes of one of the kRows rows that the
// warp copies at once, or, where vectors do not fit, one element of one row, synchronously.
template <class T, bool kVectors>
struct Lane {
  static constexpr int kRows = kVectors ? kVector<T> : 1;
  static constexpr int kSteps = 2 * kVector<T>;  // time steps of a chunk
  int of_column;                                 // the lane whose column this lane computes
  int row, element;        // the row and element of the chunk that this lane copies first
  int64_t column, source;  // the column that it computes, and the one from which it copies
  bool copies;

  __device__ explicit Lane(int64_t columns) {
    const int lane = static_cast<int>(threadIdx.x);
    const int64_t first = static_cast<int64_t>(blockIdx.x) * kWarp, last = columns - first - 1;
    of_column = lane < last ? lane : static_cast<int>(last);
    column = first + of_column;
    row = lane * kRows / kWarp;
    element = lane * kRows % kWarp;
    copies = element <= last;
    source = copies ? first + element : column;
  }
};

struct NoChunkStart {
  __device__ void operator()(int) const {}
};

// Calls step(value, last) for all time steps, where value(k) is the lane's element of plane k. firsts[k] is
// the address in plane k that the lane copies first; the last kShort planes have no row for the last step.
// The steps of a chunk are unrolled for vectors of f32 and bf16 alone: widths that vectors do not divide, and
// f64, are bound by their copies and their arithmetic, and unrolled they would take most of the compiler's
// time. begin_chunk(n), if given, is called before each n steps.
template <int kShort, bool kVectors, class T, int kPlanes, class Step, class ChunkStart = NoChunkStart>
__device__ __forceinline__ void for_steps(const Lane<T, kVectors>& lane, const T* const (&firsts)[kPlanes],
                                          const int64_t (&strides)[kPlanes], int64_t steps, const Step& step,
                                          const ChunkStart& begin_chunk = {}) {
  constexpr int kSteps = Lane<T, kVectors>::kSteps, kRows = Lane<T, kVectors>::kRows;
  [[maybe_unused]] constexpr int kUnroll = kVectors && sizeof(T) < 8 ? kSteps : 1;
  [[maybe_unused]] constexpr int kCopies = kVectors ? kSteps : 4;  // loads in flight together
  __shared__ __align__(16) T ring[kStages][kPlanes][kSteps][kWarp];
  const T* from[kPlanes];
#pragma unroll
  for (int k = 0; k < kPlanes; ++k) from[k] = firsts[k];
  int64_t to_send = lane.copies ? steps - lane.row : 0;
  int end = 0;
  const auto send = [&] {
#pragma unroll
    for (int k = 0; k < kPlanes; ++k) {
#pragma unroll kCopies
      for (int i = 0; i < kSteps; i += kRows) {
        T* to = &ring[end][k][lane.row + i][lane.element];
        const bool wanted = i < to_send - (k < kPlanes - kShort ? 0 : 1);
        if constexpr (kVectors)
          copy_async(to, from[k], wanted);
        else if (wanted)
          *to = *from[k];
        from[k] += kRows * strides[k];
      }
    }
    to_send -= kSteps;
    send_group();
    end = end + 1 == kStages ? 0 : end + 1;
  };
  int stage = 0;
  const auto run = [&](int i, bool last) {
    step([&](int k) { return static_cast<Compute<T>>(ring[stage][k][i][lane.of_column]); }, last);
  };

  for (int i = 0; i < kStages - 1; ++i) send();
  int64_t left = steps;
  for (; left >= kSteps; left -= kSteps) {
    await_group<kStages - 2>();
    __syncwarp();  // all copies have arrived, and all lanes have read the chunk that send() overwrites below
    begin_chunk(kSteps);
#pragma unroll kUnroll
    for (int i = 0; i < kSteps; ++i) run(i, i + 1 == kSteps && left == kSteps);
    send();
    stage = stage + 1 == kStages ? 0 : stage + 1;
  }
  await_group<0>();
  __syncwarp();
  begin_chunk(static_cast<int>(left));
#pragma unroll 1
  for (int i = 0; i < left; ++i) run(i, i + 1 == left);
}

// Returns the rows of x (T, B, k D), from its element `first` on, or of x (B, D), which then serves all time
// steps.
template <class T>
Rows<T> rows_of(const Tensor& x, int64_t first = 0) {
  return {x.data<std::remove_const_t<T>>() + first, x.size(-1), x.rank() == 3 ? x.size(1) * x.size(2) : 0};
}
template <class T>
Rows<T> backwards(const Rows<T>& rows, int64_t steps) {
  return {rows.first + (steps - 1) * rows.step, rows.batch, -rows.step};
}

// Return x (T, B, D), or, if it is undefined, a tensor of `shape`, (B, D), that serves all time steps:
// or_zeros() to be read, or_scratch() to be written and ignored.
inline Tensor or_zeros(const Tensor& x, const Shape& shape, const Tensor& like) {
  return x.defined() ? x : zeros(shape, like.dtype(), like.device());
}
inline Tensor or_scratch(const Tensor& x, const Shape& shape, const Tensor& like) {
  return x.defined() ? x : Tensor(shape, like.dtype(), like.device());
}

// Returns whether the 16 bytes that a lane copies are aligned and lie in one batch row.
template <class T, class... Read>
bool takes_vectors(int64_t width, const Read&... read) {
  return width % kVector<T> == 0 && (is_aligned(read.first) && ...);
}

}  // namespace tandem::cuda
