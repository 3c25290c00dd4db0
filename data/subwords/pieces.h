// Pieces: the subwords of a vocabulary, and how a file of SentencePiece holds them.
//
// A piece is text in UTF-8 in which U+2581 stands for a blank. A model that Tandem writes is a ModelProto of SentencePiece
// (sentencepiece_model.proto of version 0.1.97) with these fields and no others:
//
//     pieces           <unk>, unknown; <0x00> .. <0xFF>, bytes; then the pieces, whose scores are 0, -1, -2, ...
//     trainer_spec     model_type BPE; vocab_size; byte_fallback; no bos and no eos
//     normalizer_spec  identity; no dummy prefix, and no blank removed
//
// The order of the pieces says all of it. So there is one model for a list of pieces, byte for byte, whatever version of
// SentencePiece has learnt them.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// SentencePiece writes a blank as U+2581.
inline constexpr std::string_view kBlankInPiece = "\xe2\x96\x81";

// The pieces of a model that stand for no text of their own: <unk> and 256 bytes.
inline constexpr int kMetaPieces = 257;

// Returns the model with these pieces. Error: one is empty, longer than kLongestPiece, occurs twice, or holds what no piece
// may (is_plain()); there are more than kMostPieces.
std::string model_of_pieces(const std::vector<std::string>& pieces);

// Returns the pieces of a model. Error: it is not one that model_of_pieces() gives. No other code ever parses a model that
// comes from a file: what SentencePiece reads is what model_of_pieces() has written again.
std::vector<std::string> pieces_of_model(std::string_view model);

inline constexpr size_t kLongestPiece = 64;  // in bytes: 16 characters of 4
inline constexpr size_t kMostPieces = size_t{1} << 20;

// Returns the text that a piece stands for.
std::string text_of_piece(std::string_view piece);

}  // namespace tandem
