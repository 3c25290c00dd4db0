// A dictionary's text in another order: whole entries, shuffled by their content.
//
// A dictionary lies in alphabetical order, so that the end of the file, which is held out, is other letters of the
// alphabet than what a model reads in training, and a model is scored on how well it copies neighbouring headwords. With
// its entries shuffled, each part is a sample of the whole.
#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "tandem/data/download/data_dir.h"

namespace tandem {

// Returns the text with its entries in the order of their digests (core/digest.h), and entries of one content in the order
// of the text. That order is the same on every machine, and an entry that is added or altered moves no other one. An entry
// begins at each line that follows an empty line, or stands first, and begins neither with a blank nor with '['.
std::vector<uint8_t> shuffle_entries(std::span<const uint8_t> text);

// Returns the file DATA_DIR/NAME.txt with the shuffled entries of the dictionary `source`, which is gzip. The file is made
// once: DATA_DIR/NAME.txt.digests holds the digests of both, and if one does not match, it is made again.
// Error: `source` is not gzip, or is damaged; the folder cannot be written.
std::filesystem::path shuffled_file(const std::filesystem::path& source, const std::string& name,
                                    const std::filesystem::path& data_dir, const CorpusProgress& progress);

}  // namespace tandem
