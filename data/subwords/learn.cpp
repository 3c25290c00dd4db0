// Lets SentencePiece's trainer merge pairs in units that are counted already.
#include "tandem/data/subwords/learn.h"

#include <sentencepiece_trainer.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <numeric>
#include <unordered_map>
#include <vector>

#include "tandem/core/check.h"
#include "tandem/core/digest.h"
#include "tandem/core/utf8.h"
#include "tandem/data/subwords/pieces.h"

namespace tandem {
namespace {

// Returns a number of so many bits, at most 32, that depends on the unit alone.
int64_t tie_breaker(std::string_view unit, int bits) {
  const std::string hex = digest_of(unit.data(), unit.size()).substr(0, 8);
  int64_t number = 0;
  std::from_chars(hex.data(), hex.data() + hex.size(), number, 16);
  return number >> (32 - bits);
}

// Returns the numbers of the `count` most frequent units, of equally frequent ones the first in the text.
std::vector<int32_t> most_frequent(const WordCounts& units, size_t count) {
  std::vector<int32_t> numbers(static_cast<size_t>(units.size()));
  std::iota(numbers.begin(), numbers.end(), 0);
  std::stable_sort(numbers.begin(), numbers.end(),
                   [&units](int32_t a, int32_t b) { return units.count(a) > units.count(b); });
  numbers.resize(std::min(numbers.size(), count));
  return numbers;
}

// The units as SentencePiece reads them in the format "tsv": a unit, a tab, its frequency. Between pairs of one frequency
// that make the same piece SentencePiece chooses by their addresses in memory. So a frequency is the count with bits behind
// it that keep units apart, too few to outweigh a count of one, all places together.
class UnitFrequencies : public sentencepiece::SentenceIterator {
 public:
  UnitFrequencies(const WordCounts& units, size_t count)
      : units_(units), numbers_(most_frequent(units, count)) {
    uint64_t bytes = 0, distinct = 0;
    for (const int32_t i : numbers_) {
      distinct += units.word(i).size();
      bytes += units.word(i).size() * static_cast<uint64_t>(units.count(i));
    }
    const auto bits = [](uint64_t number) { return static_cast<int>(std::bit_width(number)); };
    shift_ =
        std::max(0, 61 - bits(bytes));  // SentencePiece adds the frequencies of all characters in 64 bits
    tie_bits_ = std::clamp(shift_ - bits(distinct), 0, 32);
    write();
  }
  bool done() const override { return next_ == numbers_.size(); }
  void Next() override {
    ++next_;
    if (!done()) write();
  }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void write() {
    const int32_t number = numbers_[next_];
    const std::string_view unit = units_.word(number);
    line_ = fmt::format("{}\t{}", unit, (units_.count(number) << shift_) + tie_breaker(unit, tie_bits_));
  }

  const WordCounts& units_;
  std::vector<int32_t> numbers_;  // of the units that are learnt from
  size_t next_ = 0;               // in numbers_
  int shift_ = 0, tie_bits_ = 0;
  std::string line_;
};

// Returns the pieces of a model that SentencePiece has made.
std::vector<std::string> learnt_pieces(const std::string& model) {
  sentencepiece::SentencePieceProcessor processor;
  const sentencepiece::util::Status status = processor.LoadFromSerializedProto(model);
  TANDEM_CHECK(status.ok(), "subwords: SentencePiece does not read what it has written: {}",
               status.ToString());
  std::vector<std::string> pieces;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const bool meta = processor.IsUnknown(id) || processor.IsByte(id);
    TANDEM_CHECK(meta == (id < kMetaPieces),
                 "subwords: SentencePiece has put '{}' at {}, where it does not belong",
                 printable_start(processor.IdToPiece(id)), id);
    if (!meta) pieces.push_back(processor.IdToPiece(id));
  }
  return pieces;
}

}  // namespace

std::string learn_subwords(const WordCounts& units, int64_t size, const std::string& name) {
  constexpr auto kMost = static_cast<int64_t>(kMostPieces);
  TANDEM_CHECK(
      size >= kFewestSubwords && size <= kMost,
      "{}: a vocabulary of {} subwords cannot be learnt; 256 of them are single bytes, so give {} to {}",
      name, size, kFewestSubwords, kMost);
  TANDEM_CHECK(units.size() > 0,
               "{}: there is no text to learn subwords from, but bytes that are none; read it as bytes",
               name);
  const std::unordered_map<std::string, std::string> settings = {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(size + 1)},  // <unk> is one more
      {"hard_vocab_limit", "false"},             // what there are too few of is told below
      {"input_format", "tsv"},
      {"character_coverage", "0.9995"},
      {"byte_fallback", "true"},
      {"allow_whitespace_only_pieces", "true"},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "false"},
      {"remove_extra_whitespaces", "false"},
      {"bos_id", "-1"},
      {"eos_id", "-1"},
      {"num_threads", "1"},
      {"minloglevel", "3"}};  // nothing but what ends the program
  UnitFrequencies frequencies(units, std::max(kLeastUnits, 4 * static_cast<size_t>(size)));
  std::string model;
  const sentencepiece::util::Status status =
      sentencepiece::SentencePieceTrainer::Train(settings, &frequencies, &model);
  TANDEM_CHECK(
      status.ok(),
      "{}: a vocabulary of {} subwords cannot be learnt: SentencePiece says (of one more, <unk>): {}; give "
      "another --vocab-size",
      name, size, printable_start(status.message(), 400));
  const std::vector<std::string> pieces = learnt_pieces(model);
  const int64_t found = 256 + static_cast<int64_t>(pieces.size());
  TANDEM_CHECK(found == size,
               "{}: the text that is trained on gives no more than {} subwords, and {} are asked for; give "
               "--vocab-size={} or less, or a longer text",
               name, found, size, found);
  return model_of_pieces(pieces);
}

}  // namespace tandem
