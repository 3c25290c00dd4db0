// Dispatch by device, for an operator that has no GPU kernel.
#include "tandem/core/dispatch.h"

#include <doctest/doctest.h>

#include "tandem/core/device.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

namespace cpu {
void double_forward(int& y, int x) {
  y = 2 * x;
}
}  // namespace cpu

}  // namespace

TEST_CASE("TANDEM_DISPATCH_CPU: the kernel is called on the CPU, and refused by its name on a GPU") {
  int y = 0;
  TANDEM_DISPATCH_CPU(Device::cpu(), double_forward(y, 21));
  CHECK(y == 42);
  const std::string error = error_of([&y] { TANDEM_DISPATCH_CPU(Device::cuda(), double_forward(y, 1)); });
  CHECK(contains(error, "double_forward: this operator has no GPU kernel"));
  CHECK(contains(error, "TANDEM_DISPATCH"));
  CHECK(y == 42);
}

}  // namespace tandem::testing
