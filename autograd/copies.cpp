// Recording of copies.
#include "tandem/autograd/copies.h"

#include "tandem/autograd/tape.h"

namespace tandem {

// y = x in another dtype, or on another device:  dx = dy, converted back.
Tensor record_copy(const char* function, const Tensor& y, const Tensor& x) {
  const Tape* const tape = Tape::current();
  if (!tape || tape->spent() || !is_floating(y.dtype())) return y;
  return record(function, y, {x}, [dtype = x.dtype(), device = x.device()](const Tensor& dy) -> Grads {
    return {dy.to(dtype).to(device)};
  });
}

}  // namespace tandem
