// Names, finds and builds files by their keys.
#include "tandem/data/keyed_file.h"

#include <fmt/format.h>

#include <cstdint>

#include "tandem/data/download/files.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// Returns the beginning of a text of at most `longest` bytes, which ends with a whole character of UTF-8.
std::string shortened(const std::string& text, size_t longest) {
  if (text.size() <= longest) return text;
  size_t end = longest;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace

std::string sha256_of(std::string_view text) {
  return checksum("sha256", {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

bool is_there(const fs::path& path) {
  std::error_code missing;
  return fs::exists(path, missing);
}

fs::path keyed_file(const fs::path& dir, const std::string& name, const std::string& key,
                    const std::string& ending) {
  const std::string end = fmt::format("-{}{}", key.substr(0, 16), ending);
  const fs::path named = dir / (shortened(name, kLongestDataName - end.size()) + end);
  if (is_there(named)) return named;
  std::error_code no_folder;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir, no_folder))
    if (entry.path().filename().string().ends_with(end)) return entry.path();
  return named;
}

void build_once(const fs::path& file, const CorpusProgress& progress, const std::function<void()>& build) {
  if (is_there(file)) return;
  make_data_dir(file.parent_path());
  const FileLock lock = lock_data_file(file.parent_path(), file.filename().string(), progress);
  if (!is_there(file)) build();
}

}  // namespace tandem
