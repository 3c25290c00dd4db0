// Checks arguments.
#include "tandem/core/arguments.h"

#include "tandem/core/check.h"

namespace tandem {

void check_defined(const char* function, std::initializer_list<Argument> arguments) {
  for (const auto& [name, value] : arguments)
    TANDEM_CHECK(value.defined(), "{}: {} is an undefined tensor; give it a value first", function, name);
}

void check_floating(const char* function, std::initializer_list<Argument> arguments) {
  check_defined(function, arguments);
  for (const auto& [name, value] : arguments)
    TANDEM_CHECK(is_floating(value.dtype()) && (value.dtype() != DType::bf16 || value.device().is_cuda()),
                 "{}: {} is {}; its dtype must be {}", function, name, value.summary(),
                 value.device().is_cuda() ? "f32, f64 or bf16" : "f32 or f64 on the CPU");
}

int check_axis(const char* function, const Argument& x, int axis) {
  check_defined(function, {x});
  const int rank = x.value.rank();
  TANDEM_CHECK(rank > 0, "{}: {} is {}, which has no axis", function, x.name, x.value.summary());
  TANDEM_CHECK(axis >= -rank && axis < rank, "{}: {} is {}; it has no axis {}, its axes are {} to {}",
               function, x.name, x.value.summary(), axis, -rank, rank - 1);
  return axis < 0 ? axis + rank : axis;
}

}  // namespace tandem
