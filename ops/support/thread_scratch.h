// Scratch memory for every thread of a loop.
#pragma once
#include <cstdint>

#include "tandem/core/parallel.h"
#include "tandem/core/storage.h"

namespace tandem::cpu {

// One piece of memory for each thread, allocated before the threads start, so that the amount does not depend
// on their timing. With parallel == false the loop runs on the calling thread alone, and there is one
// piece.
class ThreadScratch {
 public:
  explicit ThreadScratch(int64_t bytes, bool parallel = true)
      : bytes_((bytes + kAlignment - 1) / kAlignment * kAlignment),
        storage_(bytes_ * (parallel ? max_threads() : 1), Device::cpu()) {}

  // Returns the calling thread's piece, aligned to 512 bytes. Call it in the body of the loop.
  template <class T = char>
  T* own() const {
    return reinterpret_cast<T*>(static_cast<char*>(storage_.data()) + bytes_ * thread_index());
  }

 private:
  static constexpr int64_t kAlignment = 512;
  int64_t bytes_;
  Storage storage_;
};

// Takes `count` elements from the front of `memory` and moves it on, by a multiple of 64 bytes.
template <class T>
T* take(char*& memory, int64_t count) {
  T* const taken = reinterpret_cast<T*>(memory);
  memory += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
  return taken;
}

}  // namespace tandem::cpu
