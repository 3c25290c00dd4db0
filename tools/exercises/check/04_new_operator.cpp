// Checks exercise 4: values, large arguments, the entry on the tape, the gradient.
#include <cmath>

#include "tandem/autograd/tape.h"
#include "tools/exercises/check/exercise.h"

using namespace exercises;

Tensor log_cosh(const Tensor& x);

EXERCISE(04) {
  const auto at = [](double x) { return log_cosh(tandem::full({}, x, tandem::DType::f64)).item(); };
  for (const double x : {0.0, 0.5, -0.5, 3.0}) {
    const double wanted = std::log(std::cosh(x));
    expect(is_close(at(x), wanted),
           "log_cosh(" + text_of(x) + ") should be " + text_of(wanted) + ", not " + text_of(at(x)));
  }
  for (const double x : {800.0, -800.0})
    expect(is_close(at(x), 800 - std::log(2.0)), "log_cosh(" + text_of(x) + ") should be 799.3, not " +
                                                     text_of(at(x)) +
                                                     ": for large |x|, cosh(x) is e^|x| / 2");
  const Tensor x = leaf({2, 3}, 1, -3, 3);
  {
    tandem::Tape tape;
    log_cosh(x);
    expect(tape.size() > 0, "nothing is on the tape: return record(\"log_cosh\", y, {x}, ...)");
    expect(tape.dump().find(" log_cosh ") != std::string::npos, "no entry of the tape is called log_cosh");
  }
  const Function f = [](const std::vector<Tensor>& in) { return log_cosh(in[0]); };
  expect_gradients(f, {x}, {"x"});
  expect(is_finite(gradients(f, {leaf({3}, 2, 700, 900)})[0]), "the gradient of a large x is not finite");
}
