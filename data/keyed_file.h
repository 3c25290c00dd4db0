// Files of the data folder that are known by the key of what they were made from: DATA_DIR/NAME-KEY.ENDING.
#pragma once
#include <filesystem>
#include <string>

namespace tandem {

// Returns the path of the file of a key, a long hex number of which the first 16 digits are used: one that exists, under
// whatever NAME its text had, or else the one to be made, with the beginning of a long NAME. `ending` is ".tokens" or the like.
std::filesystem::path keyed_file(const std::filesystem::path& dir, const std::string& name,
                                 const std::string& key, const std::string& ending);

// Returns whether there is a file of this path.
bool is_there(const std::filesystem::path& path);

}  // namespace tandem
