// The pass over the text, and what the tap hears of it.
#include "tandem/models/training/exploration.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <span>

#include "tandem/autograd/tape.h"
#include "tandem/core/check.h"
#include "tandem/core/tap.h"
#include "tandem/data/batch_stream.h"
#include "tandem/models/training/sampling.h"

namespace tandem {
namespace {

// Returns what a row of logits says of the token that followed.
Prediction prediction_of(std::span<const double> logits, int32_t target, int64_t likeliest) {
  const std::vector<double> all = log_probabilities(logits);
  const double own = all[static_cast<size_t>(target)];
  TANDEM_CHECK(std::isfinite(own), "explore: the logits are not finite; the model has diverged");
  Prediction result;
  result.nats = -own;
  result.rank = 1 + std::count_if(all.begin(), all.end(), [own](double other) { return other > own; });
  for (const int32_t id : likeliest_ids(all, likeliest))
    result.likeliest.emplace_back(id, std::exp(all[static_cast<size_t>(id)]));
  return result;
}

// Cuts "layers.0.sru_scan.forget" after the number. A name that no scope precedes stays whole.
ValueName split_name(const std::string& name) {
  const size_t point = name.find('.'), end = name.find('.', point + 1);
  const bool scoped = point != std::string::npos && end != std::string::npos && end > point + 1 &&
                      name.find_first_not_of("0123456789", point + 1) == end;
  return scoped ? ValueName{name.substr(0, end), name.substr(end + 1)} : ValueName{"", name};
}

// The segment that is being read: `rows` steps, of which the first `reread` repeat earlier ones, from text position
// `position` on.
struct Segment {
  int64_t rows, reread, position;
};

// Keeps the values that the tap hears.
class Values {
 public:
  void begin(const Segment& segment) {
    segment_ = segment;
    times_.clear();
  }

  void hear(const std::string& full_name, const Tensor& value) {
    const int time = ++times_[full_name];
    const std::string name = time == 1 ? full_name : fmt::format("{} ({})", full_name, time);
    if (value.rank() == 1 && value.numel() == 1) entry(numbers_, name).value = value.item();
    if (value.rank() < 3) return;
    const Tensor host = value.to(Device::cpu()).to(DType::f64);
    if (value.rank() == 3 && value.size(0) == segment_.rows && value.size(1) == 1) add_series(name, host);
    if (value.rank() == 4 && value.size(0) == 1 && value.size(2) == segment_.rows) add_attention(name, host);
  }

  // Moves what was heard in every one of `steps` steps into the result.
  void give(Exploration& result, size_t steps) {
    for (ExploredAttention& one : attention_)
      if (one.rows.size() == steps) result.attention.push_back(std::move(one));
    for (ExploredSeries& one : series_)
      if (one.values.size() == steps * static_cast<size_t>(one.units))
        result.series.push_back(std::move(one));
    result.numbers = std::move(numbers_);
  }

 private:
  // Returns the entry of this name in a list, a new one if there is none.
  template <class T>
  static T& entry(std::vector<T>& list, const std::string& full_name) {
    const ValueName name = split_name(full_name);
    for (T& one : list)
      if (one.name == name) return one;
    list.emplace_back().name = name;
    return list.back();
  }

  void add_series(const std::string& name, const Tensor& value) {
    ExploredSeries& series = entry(series_, name);
    series.units = value.size(2);
    const double *begin = value.data<double>() + segment_.reread * series.units,
                 *end = value.data<double>() + value.numel();
    series.values.insert(series.values.end(), begin, end);
  }

  void add_attention(const std::string& name, const Tensor& value) {
    ExploredAttention& attention = entry(attention_, name);
    attention.heads = value.size(1);
    const int64_t keys = value.size(3), queries = value.size(2);
    const int64_t first_key = segment_.position + queries - keys;  // text position of key 0
    TANDEM_CHECK(first_key >= 0,
                 "explore: {} has {} keys for {} queries from token {} on; there are fewer before", name,
                 keys, queries, segment_.position);
    for (int64_t t = segment_.reread; t < queries; ++t) {
      const auto row = [&value, t, keys, queries](int64_t head) {
        return value.data<double>() + (head * queries + t) * keys;
      };
      const int64_t end = keys - queries + t + 1;  // keys up to the query's own
      int64_t begin = end - 1;
      for (int64_t head = 0; head < attention.heads; ++head)
        begin = std::min<int64_t>(
            begin, std::find_if(row(head), row(head) + end, [](double w) { return w > 0; }) - row(head));
      ExploredAttention::Row kept{.first = first_key + begin, .weights = {}};
      for (int64_t head = 0; head < attention.heads; ++head)
        kept.weights.insert(kept.weights.end(), row(head) + begin, row(head) + end);
      attention.rows.push_back(std::move(kept));
    }
  }

  Segment segment_{};
  std::map<std::string, int> times_;  // how often each name was heard in this segment
  std::vector<ExploredAttention> attention_;
  std::vector<ExploredSeries> series_;
  std::vector<ExploredNumber> numbers_;
};

}  // namespace

double Exploration::total_nats() const {
  return std::accumulate(predictions.begin(), predictions.end(), 0.0,
                         [](double sum, const Prediction& one) { return sum + one.nats; });
}

Exploration explore(const LanguageModel& model, const Tokens& tokens, const EvaluationOptions& options,
                    int64_t likeliest) {
  TANDEM_CHECK(tokens.size() >= 2, "explore: {} tokens leave nothing to predict; give at least 2",
               tokens.size());
  TANDEM_CHECK(options.batch_size == 1, "explore: reads one column, not {}", options.batch_size);
  TANDEM_CHECK(likeliest >= 0, "explore: {} likeliest tokens; give 0 or more", likeliest);
  TANDEM_CHECK(tokens.vocabulary_size() == model.vocabulary_size(),
               "explore: the vocabulary has {} symbols, the model predicts {}; they must come from one file",
               tokens.vocabulary_size(), model.vocabulary_size());
  Exploration result;
  for (int64_t i = 0; i < tokens.size(); ++i) result.tokens.push_back(tokens[i]);
  EvaluationStream stream(tokens, options.window, 1, model.carries_state() ? 0 : options.context().memory);
  ForwardOptions forward;
  forward.context = options.context();
  State state;
  Values values;
  std::vector<int32_t> inputs, targets;
  const NoGrad pause;
  const Tap tap([&values](const std::string& name, const Tensor& value) { values.hear(name, value); });
  while (stream.next(inputs, targets)) {
    const int64_t begin = static_cast<int64_t>(result.predictions.size());
    result.segments.push_back(begin);
    values.begin({stream.steps(), stream.reread(), begin - stream.reread()});
    const Tensor logits =
        model.logits(tensor_of<int32_t>({stream.steps(), 1}, inputs).to(model.device()), state, forward)
            .to(Device::cpu())
            .to(DType::f64);
    const int64_t n = logits.size(-1);
    for (int64_t t = stream.reread(); t < stream.steps(); ++t)
      result.predictions.push_back(prediction_of({logits.data<double>() + t * n, static_cast<size_t>(n)},
                                                 targets[static_cast<size_t>(t)], likeliest));
  }
  values.give(result, result.predictions.size());
  return result;
}

}  // namespace tandem
