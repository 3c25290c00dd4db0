// Encodes units by SentencePiece, each distinct one of a text once.
#include "tandem/data/subwords/vocabulary.h"

#include <sentencepiece_processor.h>

#include "tandem/core/check.h"
#include "tandem/data/subwords/pieces.h"
#include "tandem/data/subwords/units.h"
#include "tandem/data/words/table.h"

namespace tandem {
namespace {

// Ids of units that a text had before.
class KnownUnits {
 public:
  // Appends the ids of a unit, which encode(unit, ids) finds if it is new.
  template <class Encode>
  void append(std::string_view unit, std::vector<int32_t>& ids, const Encode& encode) {
    const int32_t before = units_.size();
    const auto number = static_cast<size_t>(units_.add(unit));
    if (units_.size() > before) {
      encode(unit, ids_);
      ends_.push_back(ids_.size());
    }
    const size_t begin = number == 0 ? 0 : ends_[number - 1];
    ids.insert(ids.end(), ids_.begin() + static_cast<std::ptrdiff_t>(begin),
               ids_.begin() + static_cast<std::ptrdiff_t>(ends_[number]));
  }

 private:
  WordTable units_;
  std::vector<int32_t> ids_;  // of all units, in the order of their numbers
  std::vector<size_t> ends_;
};

}  // namespace

SubwordVocabulary::SubwordVocabulary(std::string_view model) : model_(model) {
  const auto add = [this](const std::string& text) {
    texts_ += text;
    ends_.push_back(static_cast<uint32_t>(texts_.size()));
  };
  const std::vector<std::string> pieces = pieces_of_model(model);
  for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
  for (const std::string& piece : pieces) add(text_of_piece(piece));
  const auto processor = std::make_shared<sentencepiece::SentencePieceProcessor>();
  const sentencepiece::util::Status status = processor->LoadFromSerializedProto(model_);
  TANDEM_CHECK(status.ok(), "subwords: SentencePiece refuses the model of {} pieces: {}", pieces.size(),
               status.ToString());
  processor_ = processor;
}

std::string_view SubwordVocabulary::text(int32_t id) const {
  TANDEM_CHECK(id >= 0 && id < size(), "vocabulary: id {} is outside of 0 .. {}", id, size() - 1);
  const auto at = static_cast<size_t>(id);
  const uint32_t begin = at == 0 ? 0 : ends_[at - 1];
  return std::string_view(texts_).substr(begin, ends_[at] - begin);
}

void SubwordVocabulary::encode_unit(std::string_view unit, std::vector<int32_t>& ids) const {
  std::vector<int> found;
  const sentencepiece::util::Status status = processor_->Encode(unit, &found);
  TANDEM_CHECK(status.ok(), "subwords: SentencePiece does not encode {} bytes: {}", unit.size(),
               status.ToString());
  std::string_view rest = unit;
  const size_t before = ids.size();
  for (const int number : found) {
    if (number < 1 || number > size() || !rest.starts_with(text(number - 1))) break;
    rest.remove_prefix(text(number - 1).size());
    ids.push_back(number - 1);
  }
  if (rest.empty()) return;
  // SentencePiece has changed the text, which none that is known does to a plain one: its bytes are exact in any case.
  ids.resize(before);
  for (const char byte : unit) ids.push_back(static_cast<uint8_t>(byte));
}

std::vector<int32_t> SubwordVocabulary::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  KnownUnits known;
  const auto encode = [this](std::string_view unit, std::vector<int32_t>& into) { encode_unit(unit, into); };
  for_each_unit(
      text, [&](std::string_view unit) { known.append(unit, ids, encode); },
      [&ids](uint8_t byte) { ids.push_back(byte); });
  return ids;
}

}  // namespace tandem
