// The check of a model against the numbers that tests/golden/make_recurrences.py wrote: losses in one pass and in
// segments that carry the state, and the gradients of the mean loss.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/models/language_model.h"
#include "tandem/ops/elementwise.h"
#include "tests/support/golden_model.h"

namespace tandem::testing {

// How our parameters correspond to the authors'.
struct GoldenNames {
  std::function<std::string(const std::string& ours)> authors_name;
  // Returns our parameter's part of the authors' tensor, or of its gradient.
  std::function<Tensor(const std::string& ours, const Tensor& theirs)> our_part;
  // Names whose last part ends so are 0 where the authors' are 1.
  std::vector<std::string> centred = {};
};

// Pairs of names within a layer: ours and the authors'.
using NamePairs = std::vector<std::pair<const char*, const char*>>;

// Returns the authors' name of our "layers.N.NAME". Each layer of theirs, "PREFIX.N/2.", is two of ours: the mixing of
// time steps, and the feed-forward layer.
inline std::string name_in_layer(const std::string& ours, const std::string& prefix, const NamePairs& mixing,
                                 const NamePairs& feed_forward) {
  const size_t number = std::string("layers.").size();
  const int layer = ours[number] - '0';
  for (const auto& [name, theirs] : layer % 2 == 0 ? mixing : feed_forward)
    if (ours.substr(number + 2) == name) return prefix + "." + std::to_string(layer / 2) + "." + theirs;
  throw std::runtime_error("the authors have no " + ours);
}

// Returns the transposes of the matrices (..., m, n), which come as f64 on the CPU.
inline Tensor transposed(const Tensor& x) {
  const int64_t m = x.size(-2), n = x.size(-1);
  Tensor y(x.shape().with(-2, n).with(-1, m), DType::f64);
  for (int64_t g = 0; g < x.numel() / (m * n); ++g)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j)
        y.data<double>()[(g * n + j) * m + i] = x.data<double>()[(g * m + i) * n + j];
  return y;
}

inline void check_recurrence_golden(const std::string& folder, LanguageModel& model, const GoldenNames& names,
                                    Device device, double tolerance) {
  CAPTURE(device.str());
  const auto theirs = [&](const char* file, const std::string& name) {
    return names.our_part(name, golden(folder + "/" + file, names.authors_name(name)));
  };
  std::vector<NamedTensor> values;
  for (const NamedTensor& parameter : model.parameters()) {
    const auto ends = [&parameter](const std::string& end) { return parameter.name.ends_with(end); };
    const bool centred = std::any_of(names.centred.begin(), names.centred.end(), ends);
    const Tensor value = theirs("weights", parameter.name).view_as(parameter.value.shape());
    values.push_back({parameter.name, centred ? value - 1.0 : value});
  }
  model.load(values);

  const nlohmann::json expected = golden_json(folder + "/expected.json");
  const Tensor x = golden(folder + "/inputs", "x").to(device), y = golden(folder + "/inputs", "y").to(device);
  const Tensor nll = golden(folder + "/outputs", "nll");
  State whole, parts;
  ForwardOptions options;
  options.context.memory = x.size(0);
  CHECK(relative_error(model.token_losses(x, y, whole, options), nll) < tolerance);
  const std::vector<int64_t> cuts{0, 1, 7, 20, x.size(0)};
  for (size_t i = 0; i + 1 < cuts.size(); ++i)
    CHECK(relative_error(model.token_losses(x.view_rows(cuts[i], cuts[i + 1]),
                                            y.view_rows(cuts[i], cuts[i + 1]), parts, options),
                         nll.view_rows(cuts[i], cuts[i + 1])) < tolerance);

  State state;
  Tape tape;
  const Tensor loss = model.loss(x, y, state, options);
  CHECK(loss.item() == doctest::Approx(expected.at("mean_nll_nats").get<double>()).epsilon(tolerance));
  tape.backward(loss);
  std::vector<NamedTensor> ours;
  for (const NamedTensor& parameter : model.parameters())
    ours.push_back({parameter.name, grad(parameter.value)});
  check_gradients(
      ours, [&theirs](const std::string& name) { return theirs("grads", name); },
      expected.at("gradient_global_l2_norm"), tolerance);
}

}  // namespace tandem::testing
