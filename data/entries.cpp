// Finds the entries of a dictionary, orders them by their digests, and keeps the result in the data folder.
#include "tandem/data/entries.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "tandem/core/atomic_file.h"
#include "tandem/core/check.h"
#include "tandem/core/digest.h"
#include "tandem/data/download/files.h"
#include "tandem/data/text_file.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

std::string_view as_text(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::string_view> entries_of(std::string_view text) {
  std::vector<std::string_view> entries;
  size_t entry = 0;
  bool after_empty_line = false;
  for (size_t line = 0; line < text.size();) {
    const size_t end = std::min(text.find('\n', line), text.size() - 1) + 1;
    const char first = text[line];
    if (after_empty_line && first != ' ' && first != '\t' && first != '\n' && first != '[') {
      entries.push_back(text.substr(entry, line - entry));
      entry = line;
    }
    after_empty_line = first == '\n';
    line = end;
  }
  if (entry < text.size()) entries.push_back(text.substr(entry));
  return entries;
}

std::vector<uint8_t> read_dictionary(const fs::path& source) {
  TextFile file(source);
  std::vector<uint8_t> text = read_text(file);
  TANDEM_CHECK(file.is_gzip(), "{}: not a gzip file", source.string());
  return text;
}

bool is_file(const fs::path& path) {
  std::error_code missing;
  return fs::is_regular_file(path, missing);
}

// Returns whether `made` is what was made of a source with this digest.
bool is_current(const fs::path& made, const fs::path& digests, const std::string& source_digest) {
  if (!is_file(made) || !is_file(digests)) return false;
  const std::vector<uint8_t> known = read_file(digests);
  return as_text(known) == source_digest + ' ' + file_digest(made) + '\n';
}

}  // namespace

std::vector<uint8_t> shuffle_entries(std::span<const uint8_t> text) {
  struct Keyed {
    std::string digest;
    std::string_view entry;
  };
  std::vector<Keyed> keyed;
  for (const std::string_view entry : entries_of(as_text(text)))
    keyed.push_back({digest_of(entry.data(), entry.size()), entry});
  std::stable_sort(keyed.begin(), keyed.end(),
                   [](const Keyed& a, const Keyed& b) { return a.digest < b.digest; });
  std::vector<uint8_t> shuffled;
  shuffled.reserve(text.size());
  for (const Keyed& each : keyed) shuffled.insert(shuffled.end(), each.entry.begin(), each.entry.end());
  return shuffled;
}

fs::path shuffled_file(const fs::path& source, const std::string& name, const fs::path& data_dir,
                       const CorpusProgress& progress) {
  const fs::path made = data_dir / (name + ".txt"), digests = data_dir / (name + ".txt.digests");
  const std::string source_digest = file_digest(source);
  if (is_current(made, digests, source_digest)) return made;  // first: it works in a read-only folder, too
  make_data_dir(data_dir);
  const FileLock lock = lock_data_file(data_dir, made.filename().string(), progress);
  if (is_current(made, digests, source_digest)) return made;
  if (progress) progress("shuffling the entries of " + name, 0, 0);
  const std::vector<uint8_t> text = shuffle_entries(read_dictionary(source));
  write_file_atomically(made.string(), as_text(text));
  write_file_atomically(digests.string(), source_digest + ' ' + digest_of(text.data(), text.size()) + '\n');
  return made;
}

}  // namespace tandem
