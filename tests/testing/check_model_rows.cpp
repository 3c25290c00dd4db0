// The check of batches that texts join and leave.
#include "tandem/core/array.h"
#include "tandem/models/registry.h"
#include "tandem/testing/check_model.h"
#include "tandem/testing/max_difference.h"
#include "tests/testing/model_inputs.h"

namespace tandem::testing {
namespace {

// A text of `length` tokens that joins the batch at a turn, when it has read its prompt, and leaves it at its end.
struct Text {
  int64_t turn, prompt, length;
  Tensor tokens = {};  // (length, 1)
  Tensor alone = {};   // (length, 1, V), its logits in a batch of its own

  // The prompt is read in two pieces: first its two thirds.
  int64_t first() const { return (2 * prompt + 2) / 3; }
  // Returns where the pieces end, those of one token behind the prompt, too.
  std::vector<int64_t> ends() const {
    std::vector<int64_t> all = {first()};
    for (int64_t end = prompt; end <= length; ++end)
      if (end > first()) all.push_back(end);
    return all;
  }
};

// Turns of a batch: texts join, all read a token, texts leave.
class Batch {
 public:
  // `exact`: logits must be the same bits.
  Batch(Report& report, const LanguageModel& model, bool exact)
      : report_(report), model_(model), exact_(exact) {
    for (size_t i = 0; i < texts_.size(); ++i) {
      Text& text = texts_[i];
      const Tensor tokens = random_tokens(text.length, 10 + i);
      text.tokens = tokens.view_as({tokens.numel(), 1}).view_rows(0, text.length).to(model.device());
      const std::unique_ptr<Decoder> decoder = model.decoder(1, kContext);
      if (!exact) {
        text.alone = decoder->Decoder::read(text.tokens, /*every=*/true);
        continue;
      }
      text.alone = Tensor({text.length, 1, kSmallVocabulary}, model.dtype(), model.device());
      for (int64_t begin = 0; const int64_t end : text.ends()) {
        copy(text.alone.view_rows(begin, end),
             decoder->read(text.tokens.view_rows(begin, end), /*every=*/true));
        begin = end;
      }
    }
  }

  void run() {
    for (turn_ = 0; turn_ < 60; ++turn_) {
      for (size_t i = 0; i < texts_.size(); ++i)
        if (texts_[i].turn == turn_) join(i);
      if (!rows_.empty()) step();
    }
    report_.check(rows_.empty(), "on {}: {} texts did not end", model_.device().str(), rows_.size());
  }

 private:
  static constexpr AttentionContext kContext = {.memory = 4, .same_length = true, .segment = 5};

  // Reads the prompt, and appends the text to the batch.
  void join(size_t i) {
    const Text& text = texts_[i];
    std::unique_ptr<Decoder> joining = model_.decoder(1, kContext);
    for (int64_t begin = 0; begin < text.prompt;) {
      const int64_t end = begin == 0 ? text.first() : text.prompt;
      if (begin == 0)
        compare(i, begin, joining->read(text.tokens.view_rows(begin, end), /*every=*/true));
      else
        compare(i, end - 1, joining->read(text.tokens.view_rows(begin, end)));
      begin = end;
    }
    if (decoder_)
      decoder_->append(*joining);
    else
      decoder_ = std::move(joining);
    rows_.push_back(i);
  }

  // Lets every row read its next token, then those leave that have read their last.
  void step() {
    const Tensor next({static_cast<int64_t>(rows_.size())}, DType::i32, model_.device());
    for (size_t row = 0; row < rows_.size(); ++row)
      copy(next.view_rows(static_cast<int64_t>(row), static_cast<int64_t>(row) + 1),
           texts_[rows_[row]].tokens.view_rows(place(row), place(row) + 1).view_as({1}));
    const Tensor logits = decoder_->step(next);
    std::vector<int64_t> stay;
    std::vector<size_t> left;
    for (size_t row = 0; row < rows_.size(); ++row) {
      const auto at = static_cast<int64_t>(row);
      compare(rows_[row], place(row), logits.view_rows(at, at + 1).view_as({1, 1, kSmallVocabulary}));
      if (place(row) + 1 == texts_[rows_[row]].length) continue;
      stay.push_back(at);
      left.push_back(rows_[row]);
    }
    if (stay.empty())
      decoder_.reset();
    else if (stay.size() < rows_.size())
      decoder_->keep(stay);
    rows_ = std::move(left);
  }

  // Returns which of its tokens a row reads at this turn.
  int64_t place(size_t row) const {
    const Text& text = texts_[rows_[row]];
    return text.prompt + turn_ - text.turn;
  }

  void compare(size_t i, int64_t begin, const Tensor& logits) {
    const Tensor expected = texts_[i].alone.view_rows(begin, begin + logits.size(0));
    if (exact_) {
      report_.check(logits.to_vector<float>() == expected.to_vector<float>(),
                    "the logits of text {} from token {} on are not the bits that it has alone", i, begin);
      return;
    }
    const double error = relative_error(logits, expected);
    report_.check(error < 1e-11,
                  "on {}: the logits of text {} from token {} on are {} from those that it has alone",
                  model_.device().str(), i, begin, error);
  }

  Report& report_;
  const LanguageModel& model_;
  bool exact_;
  std::vector<Text> texts_ = {{0, 1, 21}, {2, 7, 16}, {2, 3, 25}, {5, 12, 22}, {20, 2, 31}};
  std::unique_ptr<Decoder> decoder_;
  std::vector<size_t> rows_;  // the texts in the batch
  int64_t turn_ = 0;
};

}  // namespace

Report check_model_rows(const std::string& text, const ModelChecks& checks) {
  return Report(text + ", rows of a batch").run([&text, &checks](Report& report) {
    for (const Device device : devices_of(checks)) {
      const auto model = make_shaken(config_of(text), device);
      Batch(report, *model, /*exact=*/false).run();
    }
  });
}

Report check_model_rows_exactly(const std::string& text) {
  return Report(text + ", bits of the rows of a batch").run([&text](Report& report) {
    nlohmann::json config = config_of(text);
    config["dtype"] = "f32";
    Batch(report, *make_shaken(config), /*exact=*/true).run();
  });
}

}  // namespace tandem::testing
