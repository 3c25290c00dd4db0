// Names files of the data folder by the key of what they were made from: DATA_DIR/NAME-KEY.ENDING.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "tandem/data/download/data_dir.h"

namespace tandem {

// Returns the sha256 of a text, from which keys are made.
std::string sha256_of(std::string_view text);

// Returns the path of the file of a key, a long hex number of which the first 16 digits are used: one that exists, under
// whatever NAME its text had, or else the one to be made, with the beginning of a long NAME. `ending` is ".tokens" or the like.
std::filesystem::path keyed_file(const std::filesystem::path& dir, const std::string& name,
                                 const std::string& key, const std::string& ending);

// Returns whether there is a file of this path.
bool is_there(const std::filesystem::path& path);

// Calls `build`, which writes the file, unless it exists. Of several processes one builds. Error: as lock_data_file().
void build_once(const std::filesystem::path& file, const CorpusProgress& progress,
                const std::function<void()>& build);

}  // namespace tandem
