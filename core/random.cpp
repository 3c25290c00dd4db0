// Uniform and normal numbers from Philox blocks.
#include "tandem/core/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <type_traits>

#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/parallel.h"
#include "tandem/core/philox.h"

namespace tandem {
namespace {

PhiloxBlock block_of(const Random::State& state, uint64_t offset) {
  return philox(state.seed, state.counter + offset, kRandomDomain, kRandomDomain);
}

double unit(uint32_t word) {
  return word * 0x1p-32;
}

uint64_t join(uint32_t low, uint32_t high) {
  return low | static_cast<uint64_t>(high) << 32;
}

// Two normal numbers from two words, a radius and an angle (Box and Muller 1958).
struct Pair {
  double first, second;
};
Pair box_muller(uint32_t a, uint32_t b) {
  const double radius = std::sqrt(-2 * std::log((a + 1.0) * 0x1p-32));  // never of 0: it is finite
  const double angle = 2 * std::numbers::pi * unit(b);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

// y[4 i .. 4 i + 3] = four(block i), in parallel; of the last block some values may go unused.
template <class T, class Four>
void fill_blocks(const Tensor& y, const Random::State& state, const Four& four) {
  T* out = y.data<T>();
  const int64_t n = y.numel();
  cpu::for_blocks((n + 3) / 4, 2048, 4, [out, n, &state, &four](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double values[4];
      four(block_of(state, static_cast<uint64_t>(i)), values);
      for (int64_t j = 0; j < std::min<int64_t>(4, n - 4 * i); ++j) {
        if constexpr (std::is_same_v<T, bf16>)
          out[4 * i + j] = bf16(static_cast<float>(values[j]));
        else
          out[4 * i + j] = static_cast<T>(values[j]);
      }
    }
  });
}

void check_range(const char* function, double low, double high) {
  TANDEM_CHECK(low <= high && std::isfinite(high - low),
               "{}: low {} and high {} make no range; low must not be above high, and both finite", function,
               low, high);
}

template <class Four>
void fill_any(const char* function, const Tensor& y, Random::State& state, const Four& four) {
  check_defined(function, {{"y", y}});
  TANDEM_CHECK(is_floating(y.dtype()), "{}: y is {}; it must be floating", function, y.summary());
  y.storage()->touch();
  const Tensor host = y.device().is_cpu() ? y : Tensor(y.shape(), y.dtype());
  if (y.dtype() == DType::f64) {
    fill_blocks<double>(host, state, four);
  } else if (y.dtype() == DType::f32) {
    fill_blocks<float>(host, state, four);
  } else {
    fill_blocks<bf16>(host, state, four);
  }
  state.counter += static_cast<uint64_t>(y.numel() + 3) / 4;
  if (!host.same_as(y)) copy(y, host);
}

void draw_uniform(const char* function, const Tensor& y, Random::State& state, double low, double high) {
  check_range(function, low, high);
  fill_any(function, y, state, [low, width = high - low](const PhiloxBlock& block, double* values) {
    values[0] = low + width * unit(block.x);
    values[1] = low + width * unit(block.y);
    values[2] = low + width * unit(block.z);
    values[3] = low + width * unit(block.w);
  });
}

void draw_normal(const char* function, const Tensor& y, Random::State& state, double mean, double deviation) {
  TANDEM_CHECK(deviation >= 0 && std::isfinite(deviation) && std::isfinite(mean),
               "{}: mean {} and deviation {} must be finite, and the deviation not negative", function, mean,
               deviation);
  fill_any(function, y, state, [mean, deviation](const PhiloxBlock& block, double* values) {
    const Pair p = box_muller(block.x, block.y), q = box_muller(block.z, block.w);
    values[0] = mean + deviation * p.first;
    values[1] = mean + deviation * p.second;
    values[2] = mean + deviation * q.first;
    values[3] = mean + deviation * q.second;
  });
}

// Returns a new tensor of floating numbers that `draw` fills from the state of `random`.
using Draw = void (*)(const char* function, const Tensor& y, Random::State& state, double, double);
Tensor drawn(const char* function, Draw draw, Random& random, double first, double second, const Shape& shape,
             DType dtype, Device device) {
  TANDEM_CHECK(is_floating(dtype), "{}: dtype is {}; it must be floating", function, name_of(dtype));
  const Tensor y(shape, dtype, device);
  Random::State state = random.state();
  draw(function, y, state, first, second);
  random = Random(state);
  return y;
}

}  // namespace

uint64_t Random::next_u64() {
  const PhiloxBlock block = block_of(state_, 0);
  ++state_.counter;
  return join(block.x, block.y);
}

uint64_t Random::below(uint64_t n) {
  TANDEM_CHECK(n > 0, "below: n is 0; there is no number below it");
  const uint64_t unfair = (0 - n) % n;  // 2^64 mod n: words below it would favour the smallest numbers
  uint64_t word = next_u64();
  while (word < unfair) word = next_u64();
  return word % n;
}

double Random::uniform(double low, double high) {
  check_range("uniform", low, high);
  return low + (high - low) * (static_cast<double>(next_u64() >> 11) * 0x1p-53);
}

double Random::normal() {
  const uint64_t word = next_u64();
  return box_muller(static_cast<uint32_t>(word), static_cast<uint32_t>(word >> 32)).first;
}

void Random::fill_uniform(const Tensor& y, double low, double high) {
  draw_uniform("fill_uniform", y, state_, low, high);
}

void Random::fill_normal(const Tensor& y, double mean, double deviation) {
  draw_normal("fill_normal", y, state_, mean, deviation);
}

Tensor uniform(Shape shape, Random& random, double low, double high, DType dtype, Device device) {
  return drawn("uniform", draw_uniform, random, low, high, shape, dtype, device);
}

Tensor normal(Shape shape, Random& random, double mean, double deviation, DType dtype, Device device) {
  return drawn("normal", draw_normal, random, mean, deviation, shape, dtype, device);
}

}  // namespace tandem
