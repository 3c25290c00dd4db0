// AllocationBudget: a limit on the memory of new tensors while something is built whose size a file decides.
#pragma once
#include <cstddef>
#include <string>

namespace tandem {

// While it exists, tensors that this thread makes count against it, on any device, and go on counting when they are
// freed. Budgets nest: only the innermost counts.
class AllocationBudget {
 public:
  // Making a tensor beyond `bytes` in all throws an Error with this message, before memory is taken.
  AllocationBudget(size_t bytes, std::string message);
  ~AllocationBudget();
  AllocationBudget(const AllocationBudget&) = delete;
  AllocationBudget& operator=(const AllocationBudget&) = delete;

  // Returns what a tensor of this size counts: its bytes, and what the smallest tensor takes of allocator and heap.
  static size_t cost(size_t bytes);

  // Called for every new tensor. Error: the budget of this thread, if there is one, is exceeded.
  static void take(size_t bytes);

 private:
  size_t left_;
  std::string message_;
  AllocationBudget* outer_;
};

}  // namespace tandem
