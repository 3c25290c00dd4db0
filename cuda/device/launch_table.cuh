// Launches over a table of memory of different lengths: each entry has as many blocks as its length asks for, and a block
// finds its entry. The table is an argument by value, so that a CUDA graph holds its addresses.
#pragma once

namespace tandem::cuda {

// Returns the index of the entry that this block works on: the first whose end_block lies beyond it. The blocks of an entry
// begin at the end_block of the entry before.
template <class Entry>
__device__ __forceinline__ int entry_of_block(const Entry* entries, int count) {
  const int block = static_cast<int>(blockIdx.x);
  int first = 0, last = count - 1;
  while (first < last) {
    const int middle = (first + last) / 2;
    if (block < entries[middle].end_block)
      last = middle;
    else
      first = middle + 1;
  }
  return first;
}

// Returns the number of this block among those of its entry.
template <class Entry>
__device__ __forceinline__ int block_in_entry(const Entry* entries, int entry) {
  return static_cast<int>(blockIdx.x) - (entry == 0 ? 0 : entries[entry - 1].end_block);
}

}  // namespace tandem::cuda
