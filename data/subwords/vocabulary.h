// SubwordVocabulary: the subwords of a model of SentencePiece, with which every text of bytes can be written, and read back
// byte for byte.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace tandem {

// Ids 0 .. 255 stand for single bytes, the others for the pieces of the model in their order. They are SentencePiece's ids
// less one, because its <unk> stands for no text and is none of them.
class SubwordVocabulary {
 public:
  // Error: not a model that model_of_pieces() gives (data/subwords/pieces.h).
  explicit SubwordVocabulary(std::string_view model);

  int32_t size() const { return static_cast<int32_t>(ends_.size()); }
  // Returns the model, a ModelProto, which SentencePiece's own programs read as well.
  const std::string& model() const { return model_; }
  // Returns the text of an id, at least one byte. It is valid as long as this. Error: an id outside 0 .. size() - 1.
  std::string_view text(int32_t id) const;

  // Returns the ids of a text, whose texts one after the other are that text, whatever bytes it holds. Each unit
  // (data/subwords/units.h) is encoded for itself. May be called by several threads at a time.
  std::vector<int32_t> encode(std::string_view text) const;

 private:
  void encode_unit(std::string_view unit, std::vector<int32_t>& ids) const;

  std::string model_;
  std::string texts_;           // of all ids, one after the other
  std::vector<uint32_t> ends_;  // where the text of each id ends in texts_
  std::shared_ptr<const sentencepiece::SentencePieceProcessor> processor_;
};

}  // namespace tandem
