// Sampling distributions, and the loop that generates text.
#include "tandem/models/training/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tandem/core/check.h"

namespace tandem {

std::vector<int32_t> encoded_prompt(const Vocabulary& vocabulary, std::string_view prompt) {
  try {
    return vocabulary.encode(prompt);
  } catch (const Error& error) {
    detail::fail("prompt: {}", error.what());
  }
}

std::vector<int32_t> prompt_ids(const Vocabulary& vocabulary, std::string_view prompt) {
  const std::vector<int32_t> ids = encoded_prompt(vocabulary, prompt);
  return ids.empty() ? std::vector{std::max(vocabulary.line_end(), 0)} : ids;
}

int32_t draw_token(const std::vector<double>& probabilities, Random& random) {
  double left = random.uniform(0, 1);
  int32_t last = 0;  // the answer, too, if rounding leaves the uniform number above the sum
  for (size_t id = 0; id < probabilities.size(); ++id) {
    if (probabilities[id] <= 0) continue;
    last = static_cast<int32_t>(id);
    left -= probabilities[id];
    if (left < 0) break;
  }
  return last;
}

std::vector<double> log_probabilities(std::span<const double> logits) {
  TANDEM_CHECK(!logits.empty(), "sampling: there are no logits");
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double x : logits) sum += std::exp(x - highest);
  const double log_sum = highest + std::log(sum);
  std::vector<double> all(logits.begin(), logits.end());
  for (double& x : all) x -= log_sum;
  return all;
}

std::vector<int32_t> likeliest_ids(std::span<const double> values, int64_t count) {
  std::vector<int32_t> ids(values.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto kept = std::min(static_cast<size_t>(count), ids.size());
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(kept), ids.end(),
                    [values](int32_t a, int32_t b) {
                      const double x = values[static_cast<size_t>(a)], y = values[static_cast<size_t>(b)];
                      return x > y || (x == y && a < b);
                    });
  ids.resize(kept);
  return ids;
}

void SamplingOptions::check() const {
  TANDEM_CHECK(temperature >= 0 && std::isfinite(temperature),
               "sampling: temperature is {}; it must be 0 (always the most probable token) or above",
               temperature);
  TANDEM_CHECK(top_k >= 0, "sampling: top_k is {}; it must be 0 (all) or a number of tokens", top_k);
  TANDEM_CHECK(top_p > 0 && top_p <= 1, "sampling: top_p is {}; it must be above 0 and at most 1", top_p);
}

std::vector<double> sampling_distribution(std::span<const double> logits, const SamplingOptions& options) {
  options.check();
  TANDEM_CHECK(!logits.empty(), "sampling: there are no logits to draw from");
  for (size_t id = 0; id < logits.size(); ++id)
    TANDEM_CHECK(std::isfinite(logits[id]), "sampling: the logit of id {} is {}; the model has diverged", id,
                 logits[id]);

  std::vector<size_t> order(logits.size());  // ids, most probable first
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&logits](size_t a, size_t b) { return logits[a] > logits[b]; });
  if (options.temperature == 0) order.resize(1);
  if (options.top_k > 0) order.resize(std::min(order.size(), static_cast<size_t>(options.top_k)));

  std::vector<double> probabilities(logits.size(), 0.0);
  const double highest = logits[order[0]];
  double sum = 0;
  for (const size_t id : order) {
    // A single candidate does not need the temperature, which may be 0 only then.
    probabilities[id] = order.size() == 1 ? 1 : std::exp((logits[id] - highest) / options.temperature);
    sum += probabilities[id];
  }
  double kept = 0;
  for (const size_t id : order) {
    if (options.top_p < 1 && kept >= options.top_p * sum) probabilities[id] = 0;
    kept += probabilities[id];
  }
  for (double& p : probabilities) p /= kept;
  return probabilities;
}

void check_prompt(const Vocabulary& vocabulary, std::string_view prompt) {
  encoded_prompt(vocabulary, prompt);
}

std::string generate_text(const LanguageModel& model, const Vocabulary& vocabulary, std::string_view prompt,
                          int64_t tokens, const SamplingOptions& options, const AttentionContext& context,
                          const OnText& on_text) {
  options.check();
  TANDEM_CHECK(tokens >= 0, "generate: {} tokens cannot be drawn", tokens);
  TANDEM_CHECK(vocabulary.size() == model.vocabulary_size(),
               "generate: the vocabulary has {} symbols, the model predicts {}; they must come from one file",
               vocabulary.size(), model.vocabulary_size());
  const std::unique_ptr<Decoder> decoder = model.decoder(1, context);
  const auto step = [&decoder, &model](int32_t id) {
    return decoder->step(tensor_of({1}, std::vector<int32_t>{id}).to(model.device()));
  };
  Tensor logits;
  int32_t before = -1;
  for (const int32_t id : prompt_ids(vocabulary, prompt)) logits = step(before = id);

  Random random(options.seed);
  std::string text;
  for (int64_t i = 0; i < tokens; ++i) {
    const int32_t id =
        draw_token(sampling_distribution(logits.to(DType::f64).to_vector<double>(), options), random);
    const std::string piece = vocabulary.piece(id, before);
    text += piece;
    before = id;
    if (on_text) on_text(piece);
    if (i + 1 < tokens) logits = step(id);
  }
  return text;
}

}  // namespace tandem
