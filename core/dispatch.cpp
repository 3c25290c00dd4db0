// The errors of dispatch by element type and by device.
#include "tandem/core/dispatch.h"

#include <string_view>

#include "tandem/core/check.h"

namespace tandem {

void fail_not_float(const char* op, DType dtype) {
  detail::fail("{}: dtype {} is not supported on the CPU; use f32 or f64", op, name_of(dtype));
}

void fail_not_device_float(const char* op, DType dtype) {
  detail::fail("{}: dtype {} is not supported on a GPU; use f32, f64 or bf16", op, name_of(dtype));
}

void fail_no_gpu_kernel(const char* call) {
  const std::string_view text(call);
  detail::fail(
      "{}: this operator has no GPU kernel; run it on the CPU (x.to(Device::cpu()), --device=cpu), or write a kernel "
      "and call it by TANDEM_DISPATCH",
      text.substr(0, text.find('(')));
}

}  // namespace tandem
