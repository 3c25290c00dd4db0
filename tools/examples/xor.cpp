// Learns exclusive or with two layers of neurons and plain gradient descent. Exits with 1 if an answer is wrong.
#include <cstdio>
#include <vector>

#include "tandem/autograd/tape.h"
#include "tandem/core/random.h"
#include "tandem/ops/activation.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/reduce.h"

using namespace tandem;

int main() {
  // A row of the questions is a pair of inputs, and the same row of the answers is what the network should say.
  const Tensor questions = tensor_of({4, 2}, std::vector<float>{0, 0, 0, 1, 1, 0, 1, 1});
  const Tensor answers = tensor_of({4, 1}, std::vector<float>{0, 1, 1, 0});

  constexpr int64_t kHidden = 8;
  Random random(1);
  const auto parameter = [&random](Shape shape) { return requires_grad(normal(shape, random)); };
  const Tensor w1 = parameter({kHidden, 2}), b1 = parameter({kHidden});
  const Tensor w2 = parameter({1, kHidden}), b2 = parameter({1});
  const auto network = [&](const Tensor& x) { return sigmoid(linear(tanh(linear(x, w1, b1)), w2, b2)); };

  for (int step = 0; step <= 1000; ++step) {
    Tape tape;
    const Tensor loss = mean(square(network(questions) - answers));
    tape.backward(loss);
    if (step % 200 == 0) std::printf("step %4d  loss %.4f\n", step, loss.item());
    for (const Tensor& w : {w1, b1, w2, b2}) {
      const Tensor gradient = grad(w);
      for (int64_t i = 0; i < w.numel(); ++i) w.data<float>()[i] -= 2.0f * gradient.data<float>()[i];
      w.storage()->touch();  // the values have changed: copies of them in other formats are out of date
      zero_grad(w);
    }
  }

  const std::vector<float> said = network(questions).to_vector<float>();  // no tape: nothing is recorded
  int right = 0;
  for (int i = 0; i < 4; ++i) {
    const int a = i / 2, b = i % 2, answer = said[static_cast<size_t>(i)] > 0.5f;
    std::printf("%d xor %d = %d  (%.3f)\n", a, b, answer, said[static_cast<size_t>(i)]);
    right += answer == (a ^ b);
  }
  std::printf("%d of 4 are right\n", right);
  return right == 4 ? 0 : 1;
}
