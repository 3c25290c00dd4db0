// Counting the memory of new tensors.
#include "tandem/core/allocation_budget.h"

#include <cstdint>
#include <utility>

#include "tandem/core/check.h"

namespace tandem {
namespace {

constexpr size_t kSmallestTensor = 1024;
constinit thread_local AllocationBudget* current = nullptr;

}  // namespace

AllocationBudget::AllocationBudget(size_t bytes, std::string message)
    : left_(bytes), message_(std::move(message)), outer_(std::exchange(current, this)) {}

AllocationBudget::~AllocationBudget() {
  current = outer_;
}

size_t AllocationBudget::cost(size_t bytes) {
  return bytes > SIZE_MAX - kSmallestTensor ? SIZE_MAX : bytes + kSmallestTensor;
}

void AllocationBudget::take(size_t bytes) {
  if (current == nullptr) return;
  TANDEM_CHECK(cost(bytes) <= current->left_, "{}", current->message_);
  current->left_ -= cost(bytes);
}

}  // namespace tandem
