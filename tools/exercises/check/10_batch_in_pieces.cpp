// Checks exercise 10: pieces of equal size, of different sizes, and one piece; none larger than allowed.
#include <algorithm>

#include "tandem/autograd/tape.h"
#include "tandem/ops/activation.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/reduce.h"
#include "tools/exercises/check/exercise.h"

using namespace exercises;

using MeanLoss = std::function<Tensor(const Tensor& x, const Tensor& targets)>;
void backward_in_pieces(const MeanLoss& loss, const Tensor& x, const Tensor& targets, int64_t rows);

EXERCISE(10) {
  const Tensor x = leaf({10, 4}, 1).detach(), targets = leaf({10, 1}, 2).detach(), w = leaf({1, 4}, 3);
  const MeanLoss loss = [w](const Tensor& some, const Tensor& wanted) {
    return mean(square(linear(some, w) - wanted));
  };
  {
    tandem::Tape tape;
    tape.backward(loss(x, targets));
  }
  const Tensor whole = grad(w).clone();
  for (const int64_t rows : {int64_t{10}, int64_t{5}, int64_t{4}, int64_t{1}}) {
    const std::string pieces = "in pieces of " + std::to_string(rows) + " of 10 rows";
    zero_grad(w);
    int64_t largest = 0, seen = 0;
    backward_in_pieces(
        [&](const Tensor& some, const Tensor& wanted) {
          largest = std::max(largest, some.size(0));
          seen += some.size(0);
          return loss(some, wanted);
        },
        x, targets, rows);
    expect(largest <= rows, pieces + " the loss was asked for " + std::to_string(largest) + " rows at once");
    expect(seen == 10, pieces + " the loss saw " + std::to_string(seen) + " rows");
    expect(grad(w).defined(), pieces + " no gradient arrives");
    const double factor = grad(w).data<double>()[0] / whole.data<double>()[0];
    expect(is_close(grad(w), whole),
           pieces + " the first element of the gradient is " + text_of(factor) +
               " times that of the whole batch: a piece counts by its share of the rows");
  }
}
