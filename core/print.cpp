// Layout of printed tensors: the numbers that are shown are collected first, so that all have one form and one width.
#include "tandem/core/print.h"

#include <algorithm>
#include <cmath>
#include <ostream>
#include <vector>

#include "tandem/core/check.h"

namespace tandem {
namespace {

constexpr int64_t kWhole = 1000;  // elements up to which a tensor is shown whole
constexpr int64_t kEdge = 3;      // elements shown at either end of an axis of a larger one
constexpr int kDecimals = 4;

// Walks over the elements that are shown. visit(index) is called for each, and text(string) for all that stands between.
template <class Visit, class Text>
void walk(const Shape& shape, int axis, int64_t index, bool whole, const Visit& visit, const Text& text) {
  if (axis == shape.rank()) return visit(index);
  text("[");
  const int64_t n = shape[axis];
  for (int64_t i = 0; i < n; ++i) {
    const bool skips = !whole && n > 2 * kEdge && i == kEdge;
    if (i > 0) text(axis + 1 == shape.rank() ? " " : "\n" + std::string(static_cast<size_t>(axis) + 1, ' '));
    if (skips) {
      text("...");
      i = n - kEdge - 1;
      continue;
    }
    walk(shape, axis + 1, index * n + i, whole, visit, text);
  }
  text("]");
}

// The form of all numbers of a tensor.
struct Form {
  bool integers = false, exponent = false;
  int decimals = 0;  // after the point, without the zeros that all numbers end with

  Form(const std::vector<double>& values, DType dtype) : integers(!is_floating(dtype)) {
    double largest = 0, smallest = HUGE_VAL;
    for (const double value : values) {
      if (!std::isfinite(value) || value == 0) continue;
      largest = std::max(largest, std::abs(value));
      smallest = std::min(smallest, std::abs(value));
    }
    exponent = largest >= 1e8 || (largest > 0 && smallest < 1e-4);
    for (const double value : values) {
      if (!std::isfinite(value)) continue;
      std::string digits =
          exponent ? fmt::format("{:.{}e}", value, kDecimals) : fmt::format("{:.{}f}", value, kDecimals);
      digits = digits.substr(digits.find('.') + 1, kDecimals);
      decimals = std::max(decimals, static_cast<int>(digits.find_last_not_of('0') + 1));
    }
  }

  std::string text(double value) const {
    if (!std::isfinite(value)) return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
    if (integers) return fmt::format("{:.0f}", value);
    if (exponent) return fmt::format("{:.{}e}", value, decimals);
    return fmt::format("{:#.{}f}", value, decimals);
  }
};

}  // namespace

std::string Tensor::str() const {
  if (!defined()) return summary();
  const bool whole = numel() <= kWhole;
  const Tensor host = detach().to(Device::cpu());
  std::vector<std::string> numbers;
  {
    std::vector<double> values;
    const auto nothing = [](const std::string&) {};
    if (host.dtype() == DType::i64) {  // f64 cannot hold all of them
      const auto visit = [&](int64_t i) { numbers.push_back(fmt::format("{}", host.data<int64_t>()[i])); };
      walk(shape(), 0, 0, whole, visit, nothing);
    } else {
      const Tensor wide = host.to(DType::f64);
      walk(
          shape(), 0, 0, whole, [&](int64_t i) { values.push_back(wide.data<double>()[i]); }, nothing);
      const Form form(values, dtype());
      for (const double value : values) numbers.push_back(form.text(value));
    }
  }
  size_t width = 0, next = 0;
  for (const std::string& number : numbers) width = std::max(width, number.size());
  std::string all;
  walk(
      shape(), 0, 0, whole, [&](int64_t) { all += fmt::format("{:>{}}", numbers[next++], width); },
      [&all](const std::string& text) { all += text; });
  return all + " " + summary();
}

std::ostream& operator<<(std::ostream& stream, const Tensor& x) {
  return stream << x.str();
}

}  // namespace tandem
