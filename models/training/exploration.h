// Exploration: what a model does with a text, token by token: how likely each token was, where attention looked, what the
// gates let through. The text is read as evaluate() reads it, so that the losses are those that it adds up, and the values
// are those that operators and layers offer to a tap (core/tap.h): a model of one's own that offers some has them here.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tandem/data/tokens.h"
#include "tandem/models/language_model.h"
#include "tandem/models/training/evaluation.h"

namespace tandem {

// Step s reads token s of the text and predicts token s + 1; there are N - 1 steps for N tokens.
struct Prediction {
  double nats = 0;  // negative log-likelihood of the token that followed
  int64_t rank =
      0;  // its place among all tokens by probability; 1: it was the likeliest. Equals share the better place
  std::vector<std::pair<int32_t, double>> likeliest;  // ids and their probabilities, the likeliest first
};

// A value's name without its layer, as it was offered, and its layer: "sru_scan.forget" of "layers.0".
struct ValueName {
  std::string layer, name;
  bool operator==(const ValueName&) const = default;
};

// Attention weights of one layer, a row for each step: a query.
struct ExploredAttention {
  struct Row {
    int64_t first = 0;  // text position of the first key that the query sees; the last one is its own
    std::vector<float> weights;  // (heads, number of keys), sums of 1 for each head
  };
  ValueName name;
  int64_t heads = 0;
  std::vector<Row> rows;  // one for each step
};

// A value for each step and unit.
struct ExploredSeries {
  ValueName name;
  int64_t units = 0;
  std::vector<float> values;  // (steps, units)
};

// A number of a layer.
struct ExploredNumber {
  ValueName name;
  double value = 0;
};

struct Exploration {
  std::vector<int32_t> tokens;          // N
  std::vector<Prediction> predictions;  // N - 1
  std::vector<int64_t> segments;  // the steps at which segments begin; a query's earlier keys are memory
  std::vector<ExploredAttention> attention;
  std::vector<ExploredSeries> series;
  std::vector<ExploredNumber> numbers;

  double total_nats() const;
};

// Reads a text and keeps everything that the model offers of the right shape, in the order in which it was first offered.
// Attention and series that are not offered in every segment are left out. Computes in the current precision; what it
// keeps grows with tokens times keys times heads.
// Error: as evaluate(); a batch size other than 1; fewer than 2 tokens; logits that are not finite.
Exploration explore(const LanguageModel& model, const Tokens& tokens, const EvaluationOptions& options,
                    int64_t likeliest = 10);

}  // namespace tandem
