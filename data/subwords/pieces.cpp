// Writes a model in the wire format of protocol buffers, and takes one apart that was written so.
#include "tandem/data/subwords/pieces.h"

#include <bit>
#include <cstdint>

#include "tandem/core/check.h"
#include "tandem/core/utf8.h"
#include "tandem/data/subwords/units.h"
#include "tandem/data/words/table.h"

namespace tandem {
namespace {

// Values of the enumerations in sentencepiece_model.proto.
constexpr uint64_t kUnknown = 2, kByte = 6, kNormal = 1, kBpe = 2;

// A message of protocol buffers in the making.
class Message {
 public:
  void add(int field, uint64_t value) {
    varint(static_cast<uint64_t>(field) << 3);
    varint(value);
  }
  void add(int field, float value) {
    varint(static_cast<uint64_t>(field) << 3 | 5);
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) bytes_ += static_cast<char>(bits >> shift & 0xff);
  }
  void add(int field, std::string_view value) {
    varint(static_cast<uint64_t>(field) << 3 | 2);
    varint(value.size());
    bytes_ += value;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void varint(uint64_t value) {
    for (; value > 0x7f; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

constexpr int kPieces = 1, kTrainer = 2, kNormalizer = 3;  // fields of ModelProto
constexpr char kPieceTag = kPieces << 3 | 2;

std::string byte_piece(int byte) {
  return fmt::format("<0x{:02X}>", byte);
}

void add_piece(Message& model, std::string_view text, float score, uint64_t type) {
  Message piece;
  piece.add(1, text);
  piece.add(2, score);
  piece.add(3, type);
  model.add(kPieces, piece.bytes());
}

// Returns whether SentencePiece takes a piece of this name for <unk> or a byte.
bool is_meta(std::string_view piece) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const bool byte = piece.size() == 6 && piece.starts_with("<0x") && piece[5] == '>' &&
                    kDigits.find(piece[3]) != std::string_view::npos &&
                    kDigits.find(piece[4]) != std::string_view::npos;
  return byte || piece == "<unk>";
}

void check_piece(std::string_view piece, size_t number) {
  TANDEM_CHECK(!piece.empty() && piece.size() <= kLongestPiece,
               "subwords: piece {} has {} bytes; it must have 1 to {}", number, piece.size(), kLongestPiece);
  TANDEM_CHECK(!is_meta(piece), "subwords: piece {}, '{}', has a name that is reserved", number,
               printable_start(piece));
  TANDEM_CHECK(
      piece.find(' ') == std::string_view::npos && is_plain(text_of_piece(piece)),
      "subwords: piece {}, '{}', holds what no piece may: a blank, a control character, U+2585, or bytes "
      "that are not UTF-8",
      number, printable_start(piece));
}

}  // namespace

std::string text_of_piece(std::string_view piece) {
  std::string text;
  while (!piece.empty()) {
    const bool blank = piece.starts_with(kBlankInPiece);
    text += blank ? ' ' : piece[0];
    piece.remove_prefix(blank ? kBlankInPiece.size() : 1);
  }
  return text;
}

std::string model_of_pieces(const std::vector<std::string>& pieces) {
  TANDEM_CHECK(pieces.size() <= kMostPieces, "subwords: {} pieces; there may be at most {}", pieces.size(),
               kMostPieces);
  WordTable seen;
  Message model;
  add_piece(model, "<unk>", 0, kUnknown);
  for (int byte = 0; byte < 256; ++byte) add_piece(model, byte_piece(byte), 0, kByte);
  for (size_t i = 0; i < pieces.size(); ++i) {
    check_piece(pieces[i], i);
    const int32_t number = seen.add(pieces[i]);
    TANDEM_CHECK(number == static_cast<int32_t>(i),
                 "subwords: the piece '{}' occurs twice, as number {} and as {}", printable_start(pieces[i]),
                 number, i);
    add_piece(model, pieces[i], -static_cast<float>(i), kNormal);
  }
  constexpr auto kNone = static_cast<uint64_t>(int64_t{-1});
  Message trainer, normalizer;
  trainer.add(3, kBpe);
  trainer.add(4, uint64_t{kMetaPieces} + pieces.size());
  trainer.add(35, uint64_t{1});  // byte_fallback
  trainer.add(41, kNone);        // bos_id
  trainer.add(42, kNone);        // eos_id
  normalizer.add(1, std::string_view("identity"));
  normalizer.add(3, uint64_t{0});  // add_dummy_prefix
  normalizer.add(4, uint64_t{0});  // remove_extra_whitespaces
  normalizer.add(5, uint64_t{1});  // escape_whitespaces
  model.add(kTrainer, trainer.bytes());
  model.add(kNormalizer, normalizer.bytes());
  return model.bytes();
}

std::vector<std::string> pieces_of_model(std::string_view model) {
  // Lengths have one byte each, since pieces are short. Whatever else is not as it should be shows in the comparison.
  std::vector<std::string> pieces;
  std::string_view rest = model;
  const auto byte_at = [&rest](size_t i) { return static_cast<uint8_t>(rest[i]); };
  for (size_t number = 0; rest.size() >= 4 && rest[0] == kPieceTag; ++number) {
    const size_t length = byte_at(1), text = byte_at(3);
    if (length > 0x7f || text > kLongestPiece || text + 2 > length || rest.size() < length + 2) break;
    if (number >= kMetaPieces) pieces.emplace_back(rest.substr(4, text));
    if (pieces.size() > kMostPieces) break;
    rest.remove_prefix(length + 2);
  }
  TANDEM_CHECK(
      model_of_pieces(pieces) == model,
      "subwords: {} bytes that are no model of SentencePiece in the form that Tandem writes; after {} pieces "
      "there are {} bytes that do not belong there, or others are missing",
      model.size(), pieces.size(), rest.size());
  return pieces;
}

}  // namespace tandem
