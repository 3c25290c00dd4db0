// The order in which blocks and threads run.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "simulator.h"

namespace tandem::simulator {

uint64_t random(uint64_t below);                 // the next of the order's random numbers
void arrange(std::vector<unsigned>& ascending);  // puts them into the order

// The i-th block to run.
class BlockOrder {
 public:
  explicit BlockOrder(size_t blocks);
  size_t operator[](size_t i) const;

 private:
  size_t blocks_;
  std::vector<unsigned> shuffled_;  // only in that order
};

}  // namespace tandem::simulator
