// A right answer to exercise 10.
#include <algorithm>
#include <functional>

#include "tandem/autograd/tape.h"
#include "tandem/ops/arithmetic.h"

using namespace tandem;

void backward_in_pieces(const std::function<Tensor(const Tensor& x, const Tensor& targets)>& loss,
                        const Tensor& x, const Tensor& targets, int64_t rows) {
  for (int64_t begin = 0; begin < x.size(0); begin += rows) {
    const int64_t end = std::min(begin + rows, x.size(0));
    const double share = static_cast<double>(end - begin) / static_cast<double>(x.size(0));
    Tape tape;
    tape.backward(scale(loss(x.view_rows(begin, end), targets.view_rows(begin, end)), share));
  }
}
