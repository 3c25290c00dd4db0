// Allocation budgets: tensors within and beyond them, nested budgets, and sizes that overflow.
#include "tandem/core/allocation_budget.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <thread>

#include "tandem/core/host_memory.h"
#include "tandem/core/tensor.h"
#include "tests/support/errors.h"

namespace tandem::testing {

TEST_CASE("allocation budget: a tensor beyond it is refused before memory is taken") {
  const AllocationBudget budget(2 * AllocationBudget::cost(4000), "the file is too small for this model");
  const Tensor first({1000}, DType::f32);
  const size_t in_use = host_allocator().statistics().in_use;
  CHECK(error_of([] { Tensor({1100}, DType::f32); }) == "the file is too small for this model");
  CHECK(error_of([] { Tensor({int64_t{1} << 61}, DType::f64); }) == "the file is too small for this model");
  CHECK(host_allocator().statistics().in_use == in_use);
  const Tensor second({1000}, DType::f32);
  CHECK_THROWS(Tensor({0}, DType::f32));  // even an empty tensor counts
}

TEST_CASE("allocation budget: it ends with its scope, is that of one thread, and the inner one counts") {
  const AllocationBudget outer(AllocationBudget::cost(16), "outer");
  {
    const AllocationBudget inner(AllocationBudget::cost(64), "inner");
    const Tensor x({16}, DType::f32);
    CHECK(error_of([] { Tensor({1}, DType::u8); }) == "inner");
  }
  std::thread([] { CHECK(Tensor({1 << 20}, DType::f32).numel() == 1 << 20); }).join();
  const Tensor x({4}, DType::f32);
  CHECK(error_of([] { Tensor({1}, DType::u8); }) == "outer");
}

TEST_CASE("allocation budget: the cost of a size does not overflow") {
  CHECK(AllocationBudget::cost(SIZE_MAX) == SIZE_MAX);
  CHECK(AllocationBudget::cost(0) > 0);
}

}  // namespace tandem::testing
