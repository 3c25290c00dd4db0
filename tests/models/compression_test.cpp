// Compares pruning with sorting, and quantization with its formula.
#include "tandem/models/training/compression.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "tests/support/errors.h"
#include "tests/support/op_cases.h"

namespace tandem::testing {
namespace {

// Two matrices of different scale, a tensor of three axes, and parameters that are never pruned.
std::vector<NamedTensor> parameters() {
  return {{"embedding.weight", random_tensor({9, 7}, DType::f32, 1, -3, 3)},
          {"norm.gain", random_tensor({7}, DType::f32, 2, -0.001, 0.001)},
          {"layers.0.weight", random_tensor({33, 5}, DType::f32, 3)},
          {"layers.0.position_bias", random_tensor({3, 4}, DType::f32, 4, -0.001, 0.001)},
          {"layers.0.filter", random_tensor({2, 3, 5}, DType::f32, 5)},
          {"alpha", random_tensor({1}, DType::f32, 6, -0.001, 0.001)}};
}
const std::set<std::string> kMatrices = {"embedding.weight", "layers.0.weight", "layers.0.filter"};

std::vector<NamedTensor> copies(const std::vector<NamedTensor>& from) {
  std::vector<NamedTensor> all;
  for (const NamedTensor& tensor : from) all.push_back({tensor.name, tensor.value.clone()});
  return all;
}

TEST_CASE("prune: the smallest weights of each matrix, or of all, as many as asked for") {
  for (const double sparsity : {0.0, 0.15, 0.5, 0.9, 0.999}) {
    for (const PruningScope scope : {PruningScope::layer, PruningScope::global}) {
      CAPTURE(sparsity);
      const std::vector<NamedTensor> before = parameters(), after = copies(before);
      const std::vector<NamedTensor> masks = prune(after, sparsity, scope);
      std::map<std::string, Tensor> mask_of;
      for (const NamedTensor& mask : masks) mask_of[mask.name] = mask.value;
      std::map<std::string, std::vector<float>> pruned, kept;  // magnitudes, by scope
      for (size_t p = 0; p < before.size(); ++p) {
        CHECK(mask_of.count(before[p].name) == kMatrices.count(before[p].name));
        if (!kMatrices.contains(before[p].name)) {
          CHECK(after[p].value.to_vector<float>() == before[p].value.to_vector<float>());
          continue;
        }
        const Tensor& mask = mask_of[before[p].name];
        REQUIRE(mask.shape() == before[p].value.shape());
        for (int64_t i = 0; i < mask.numel(); ++i) {
          const float was = before[p].value.data<float>()[i];
          const bool stays = mask.data<uint8_t>()[i] == 1;
          CHECK(after[p].value.data<float>()[i] == (stays ? was : 0.0f));
          (stays ? kept : pruned)[scope == PruningScope::global ? "all" : before[p].name].push_back(
              std::abs(was));
        }
      }
      for (const auto& [name, some] : kept) {
        const double all = static_cast<double>(some.size() + pruned[name].size());
        CHECK(static_cast<double>(pruned[name].size()) == std::round(sparsity * all));
        if (!pruned[name].empty() && !some.empty())
          CHECK(*std::max_element(pruned[name].begin(), pruned[name].end()) <=
                *std::min_element(some.begin(), some.end()));
      }
    }
  }
}

TEST_CASE("prune: of equal weights the first go, and what is 0 stays 0 as sparsity grows") {
  const Tensor w = tensor_from({2, 4}, [](int64_t i) { return i % 2 ? -2.0 : 2.0; }).to(DType::f32);
  CHECK(prune({{"w", w}}, 0.5, PruningScope::layer)[0].value.to_vector<uint8_t>() ==
        std::vector<uint8_t>{0, 0, 0, 0, 1, 1, 1, 1});
  const std::vector<NamedTensor> all = parameters();
  std::vector<uint8_t> before;
  for (const double sparsity : {0.2, 0.4, 0.8}) {
    const std::vector<uint8_t> now = prune(all, sparsity, PruningScope::global)[1].value.to_vector<uint8_t>();
    for (size_t i = 0; i < before.size(); ++i) CHECK(now[i] <= before[i]);
    before = now;
  }
}

TEST_CASE("quantize: step, codes and zero by the formula, the ends exact, errors of half a step") {
  const Tensor w = random_tensor({33, 5}, DType::f32, 1, -0.3, 1.1);
  const auto [low, high] = std::minmax_element(w.span<float>().begin(), w.span<float>().end());
  for (const int bits : {8, 6, 4, 2}) {
    CAPTURE(bits);
    const Quantized q = quantize(w, bits, false);
    const double step = (static_cast<double>(*high) - *low) / ((1 << bits) - 1);
    CHECK(q.bits == bits);
    CHECK(q.step == doctest::Approx(step).epsilon(1e-6));
    CHECK(q.zero == doctest::Approx(-*low / step).epsilon(1e-6));
    const Tensor back = dequantize(q);
    double worst = 0;
    std::set<int> seen;
    for (int64_t i = 0; i < w.numel(); ++i) {
      const double x = w.data<float>()[i];
      const int code = q.codes.data<uint8_t>()[i];
      seen.insert(code);
      CHECK(std::abs(code - (x - *low) / step) <= 0.5 + 1e-4);
      worst = std::max(worst, std::abs(back.data<float>()[i] - x));
    }
    CHECK(worst <= step / 2 * 1.001);
    CHECK(*seen.begin() == 0);
    CHECK(*seen.rbegin() == (1 << bits) - 1);
  }
}

TEST_CASE("quantize: pruned weights stay exactly 0, whatever the range") {
  for (const auto& [low, high] : {std::pair{-1.0, 0.37}, {0.2, 0.9}, {-0.9, -0.2}}) {
    for (const int bits : {8, 4}) {
      Tensor w = random_tensor({40, 5}, DType::f32, 2, low, high);
      for (int64_t i = 0; i < w.numel(); i += 3) w.data<float>()[i] = 0;
      const Quantized q = quantize(w, bits, true);
      const Tensor back = dequantize(q);
      CHECK(q.zero == std::round(q.zero));
      for (int64_t i = 0; i < w.numel(); ++i) {
        if (i % 3 == 0) CHECK(back.data<float>()[i] == 0.0f);
        CHECK(std::abs(back.data<float>()[i] - w.data<float>()[i]) <= q.step * 0.501f);
      }
    }
  }
}

TEST_CASE("quantize: a range without a step in f32 counts as 0") {
  for (const bool exact_zero : {false, true}) {
    const Quantized q = quantize(tensor_of({3}, std::vector<float>{-1e-44f, 0, 3e-44f}), 8, exact_zero);
    CHECK(q.step > 0);
    CHECK(std::isfinite(q.zero));
    for (const float x : dequantize(q).to_vector<float>()) CHECK(std::abs(x) < 1e-37f);
  }
}

TEST_CASE("quantize: tensors of one value, of one element and of none") {
  for (const double value : {0.0, 0.7, -3.0}) {
    const Tensor back = dequantize(quantize(full({3, 2}, value, DType::f32), 4, false));
    for (const float x : back.span<float>()) CHECK(x == doctest::Approx(value));
  }
  CHECK(dequantize(quantize(zeros({0, 5}, DType::f32), 8, false)).shape() == Shape{0, 5});
}

TEST_CASE("compression: error messages") {
  const auto pruning = [](double sparsity, const Tensor& w) {
    return error_of([&] { prune({{"w", w}}, sparsity, PruningScope::layer); });
  };
  const Tensor w = zeros({2, 2}, DType::f32),
               bad = full({2, 2}, std::numeric_limits<double>::infinity(), DType::f32);
  CHECK(contains(pruning(1, w), "a sparsity of 1; it must be at least 0 and below 1"));
  CHECK(contains(pruning(-0.1, w), "a sparsity of -0.1"));
  CHECK(contains(pruning(0.5, zeros({2, 2}, DType::f64)), "prune: w is f64 (2, 2) on cpu; it must be f32"));
  CHECK(contains(pruning(0.5, bad), "w holds a value that is not finite"));
  CHECK(contains(error_of([&] { quantize(w, 9, false); }), "quantize: 9 bits; give 2 to 8"));
  CHECK(contains(error_of([&] { quantize(w, 1, false); }), "quantize: 1 bits"));
  CHECK(contains(error_of([&] { quantize(zeros({2}, DType::i32), 8, false); }), "i32 (2)"));
  CHECK(contains(error_of([&] { quantize(bad, 8, false); }), "not finite"));
}

}  // namespace
}  // namespace tandem::testing
