// The errors of dispatch by element type.
#include "tandem/core/dispatch.h"

#include "tandem/core/check.h"

namespace tandem {

void fail_not_float(const char* op, DType dtype) {
  detail::fail("{}: dtype {} is not supported on the CPU; use f32 or f64", op, name_of(dtype));
}

void fail_not_device_float(const char* op, DType dtype) {
  detail::fail("{}: dtype {} is not supported on a GPU; use f32, f64 or bf16", op, name_of(dtype));
}

}  // namespace tandem
