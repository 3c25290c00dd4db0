// Random: a seeded generator for initialisation, shuffling and sampling, whose whole state is two numbers; and uniform()
// and normal(), new tensors filled by it.
#pragma once
#include <cstdint>

#include "tandem/core/tensor.h"

namespace tandem {

class Random {
 public:
  struct State {
    uint64_t seed = 0;
    uint64_t counter = 0;  // Philox blocks drawn so far
    friend bool operator==(const State&, const State&) = default;
  };

  explicit Random(uint64_t seed) : state_{seed, 0} {}
  explicit Random(State state) : state_(state) {}
  const State& state() const { return state_; }

  uint64_t next_u64();
  uint64_t below(uint64_t n);               // uniform in 0..n-1, without bias. Error: n is 0.
  double uniform(double low, double high);  // in [low, high), 53 random bits
  double normal();                          // mean 0, standard deviation 1

  // Fills a floating tensor on any device. Element i depends on the state and on i alone, so the number of threads does
  // not matter, and every dtype gets the same values, rounded. Draws one block per four elements. Values lie in
  // [low, high) in f64; in f32 and bf16 a value may round to `high`. Error: y is not floating; low > high.
  void fill_uniform(const Tensor& y, double low, double high);
  // Fills with mean `mean` and standard deviation `deviation`. Error: y is not floating; the deviation is negative or
  // not finite.
  void fill_normal(const Tensor& y, double mean, double deviation);

 private:
  State state_;
};

// Return a new tensor of numbers drawn from `random`, as its fill_uniform() and fill_normal() draw them:
//     const Tensor x = normal({16, 64}, random);
// Error: as there.
Tensor uniform(Shape shape, Random& random, double low = 0, double high = 1, DType dtype = DType::f32,
               Device device = Device::cpu());
Tensor normal(Shape shape, Random& random, double mean = 0, double deviation = 1, DType dtype = DType::f32,
              Device device = Device::cpu());

}  // namespace tandem
