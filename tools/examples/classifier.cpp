// Tells three spiral arms of points apart, which the program makes itself, and counts its errors on points that it has
// not seen. Exits with 1 if more than one in twenty of them is wrong.
#include <cmath>
#include <cstdio>
#include <vector>

#include "tandem/autograd/tape.h"
#include "tandem/core/random.h"
#include "tandem/models/module.h"
#include "tandem/models/training/optimizer.h"
#include "tandem/ops/activation.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/max.h"

using namespace tandem;

namespace {

constexpr int64_t kClasses = 3, kHidden = 32;

// Points in the plane, (N, 2), and the arm that each lies on, (N).
struct Points {
  Tensor places, arms;
};

// Draws points on arms that wind once around the origin, each with a little noise.
Points draw_points(int64_t count, Random& random) {
  std::vector<float> places;
  std::vector<int32_t> arms;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t arm = static_cast<int32_t>(i % kClasses);
    const double radius = random.uniform(0.1, 1);
    const double angle = 2 * M_PI * (radius + static_cast<double>(arm) / kClasses) + 0.1 * random.normal();
    places.push_back(static_cast<float>(radius * std::cos(angle)));
    places.push_back(static_cast<float>(radius * std::sin(angle)));
    arms.push_back(arm);
  }
  return {tensor_of({count, 2}, places), tensor_of({count}, arms)};
}

// Layers of neurons: a module owns its parameters and lists them by name.
class Classifier : public Module {
 public:
  explicit Classifier(Random& random) {
    const int64_t widths[] = {2, kHidden, kHidden, kClasses};
    for (size_t i = 0; i < 3; ++i) {
      const double deviation = std::sqrt(2.0 / static_cast<double>(widths[i]));
      weights_[i] = add_parameter("weight" + std::to_string(i),
                                  normal({widths[i + 1], widths[i]}, random, 0, deviation));
      biases_[i] = add_parameter("bias" + std::to_string(i), zeros({widths[i + 1]}, DType::f32));
    }
  }

  // Maps places (N, 2) to logits (N, kClasses).
  Tensor logits(const Tensor& places) const {
    Tensor x = places;
    for (size_t i = 0; i < 3; ++i) {
      x = linear(x, weights_[i], biases_[i]);
      if (i < 2) x = relu(x);
    }
    return x;
  }

 private:
  Tensor weights_[3], biases_[3];
};

// Returns the share of points whose largest logit is that of their arm.
double accuracy(const Classifier& classifier, const Points& points) {
  const NoGrad pause;  // a tape may be alive, and it is not meant for this
  const std::vector<int32_t> said = argmax(classifier.logits(points.places)).to_vector<int32_t>();
  const std::vector<int32_t> arms = points.arms.to_vector<int32_t>();
  int64_t right = 0;
  for (size_t i = 0; i < arms.size(); ++i) right += said[i] == arms[i];
  return static_cast<double>(right) / static_cast<double>(arms.size());
}

}  // namespace

int main() {
  Random random(1);
  const Points training = draw_points(300, random), test = draw_points(300, random);
  Classifier classifier(random);
  Optimizer optimizer(classifier.parameters(), {.kind = "adamw", .weight_decay = 0.01});
  std::printf("%lld parameters, %.1f %% of the test points before training\n",
              static_cast<long long>(classifier.parameter_count()), 100 * accuracy(classifier, test));

  for (int step = 0; step <= 400; ++step) {
    Tape tape;
    const Tensor loss = cross_entropy(classifier.logits(training.places), training.arms);
    tape.backward(loss);
    optimizer.step(/*lr=*/1e-2);
    if (step % 100 == 0)
      std::printf("step %3d  loss %.4f  %.1f %% of the training points\n", step, loss.item(),
                  100 * accuracy(classifier, training));
  }
  const double found = accuracy(classifier, test);
  std::printf("%.1f %% of the test points are right\n", 100 * found);
  return found >= 0.95 ? 0 : 1;
}
