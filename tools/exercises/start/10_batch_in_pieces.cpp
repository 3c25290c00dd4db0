// Exercise 10, a batch in pieces: a batch that does not fit into memory goes through the model a few rows at a time.
//
// The gradients add up in the leaves. But the sum of the means of the pieces is not the mean of all rows, least of all if
// the last piece is smaller.
#include <algorithm>
#include <functional>

#include "tandem/autograd/tape.h"
#include "tandem/ops/arithmetic.h"

using namespace tandem;

// Returns the mean loss of the rows of x (n, D) with their targets (n, 1).
using MeanLoss = std::function<Tensor(const Tensor& x, const Tensor& targets)>;

// Adds to the leaves the gradient of the mean loss of all rows of x (N, D), with no more than `rows` of them at a time.
void backward_in_pieces(const MeanLoss& loss, const Tensor& x, const Tensor& targets, int64_t rows) {
  for (int64_t begin = 0; begin < x.size(0); begin += rows) {
    const int64_t end = std::min(begin + rows, x.size(0));
    Tape tape;
    tape.backward(loss(x.view_rows(begin, end), targets.view_rows(begin, end)));
  }
}
