// Checks exercise 5: with poisoned memory, for logits of any size, forward and backward.
#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/error.h"
#include "tandem/ops/reduce.h"
#include "tools/exercises/check/exercise.h"

using namespace exercises;

Tensor entropy(const Tensor& logits);

namespace {

// Runs entropy forward and backward under check_nan, and gives as the hint what the tape says.
void expect_no_nan(const Tensor& logits, const std::string& which) {
  try {
    tandem::Tape tape({.check_nan = true});
    tape.backward(tandem::sum(entropy(logits)));
  } catch (const tandem::Error& error) {
    expect(false, "for " + which + " the tape says: " + error.what());
  }
}

}  // namespace

EXERCISE(05) {
  const Tensor logits = leaf({3, 4}, 1);
  expect_no_nan(logits, "small logits");
  const Tensor found = entropy(logits);
  for (int64_t n = 0; n < 3; ++n) {
    const double* row = logits.data<double>() + 4 * n;
    double total = 0, wanted = 0;
    for (int64_t d = 0; d < 4; ++d) total += std::exp(row[d]);
    for (int64_t d = 0; d < 4; ++d) wanted -= std::exp(row[d]) / total * std::log(std::exp(row[d]) / total);
    expect(is_close(found.data<double>()[n], wanted), "the entropy of row " + std::to_string(n) + " is " +
                                                          text_of(found.data<double>()[n]) + " instead of " +
                                                          text_of(wanted));
  }
  expect_gradients([](const std::vector<Tensor>& in) { return entropy(in[0]); }, {logits}, {"the logits"});

  const Tensor sure =
      tandem::requires_grad(tandem::tensor_of<double>({1, 3}, std::vector<double>{2000, 0, 0}));
  expect_no_nan(sure, "the logits 2000, 0, 0");
  const double value = entropy(sure).item();
  expect(is_close(value, 0), "the entropy of the logits 2000, 0, 0 is " + text_of(value) + " instead of 0");
  const Tensor gradient = gradients([](const std::vector<Tensor>& in) { return entropy(in[0]); }, {sure})[0];
  expect(is_close(gradient, tandem::zeros({1, 3}, tandem::DType::f64)),
         "the gradient of the logits 2000, 0, 0 is not 0");
}
