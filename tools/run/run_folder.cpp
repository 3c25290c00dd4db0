// Making, locking and finding the folders of runs.
#include "tandem/tools/run/run_folder.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>
#include <utility>

#include "tandem/core/check.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr const char* kLock = "run.lock";

FileLock lock(const fs::path& folder) {
  std::string holder;
  std::optional<FileLock> lock = FileLock::try_lock((folder / kLock).string(), holder);
  TANDEM_CHECK(lock, "{}: {} is writing to this folder; wait for it, stop it, or give another --out",
               folder.string(), holder);
  return std::move(*lock);
}

// Returns whether `name` is STEM or STEM-NUMBER.
bool is_of_stem(std::string_view name, const std::string& stem) {
  if (!name.starts_with(stem)) return false;
  name.remove_prefix(stem.size());
  if (name.empty()) return true;
  if (name.front() != '-' || name.size() == 1) return false;
  return std::all_of(name.begin() + 1, name.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

}  // namespace

RunFolder RunFolder::make_new(const fs::path& parent, const std::string& stem) {
  std::error_code error;
  fs::create_directories(parent, error);
  TANDEM_CHECK(!error, "{}: cannot be made: {}", parent.string(), error.message());
  for (int i = 1;; ++i) {
    fs::path folder = parent / (i == 1 ? stem : fmt::format("{}-{}", stem, i));
    const bool made = fs::create_directory(folder, error);  // false without an error if it exists
    std::error_code missing;
    TANDEM_CHECK(!error || fs::exists(folder, missing), "{}: cannot be made: {}; --out names another folder",
                 folder.string(), error.message());
    if (!made) continue;
    RunFolder run(folder, lock(folder));
    run.made_here_ = true;
    return run;
  }
}

RunFolder RunFolder::make(const fs::path& folder) {
  RunFolder run = open_or_make(folder);
  TANDEM_CHECK(!fs::exists(folder / kLastCheckpoint),
               "{} holds a run already; --resume={} goes on with it, another --out keeps it", folder.string(),
               folder.string());
  return run;
}

RunFolder RunFolder::open_or_make(const fs::path& folder) {
  std::error_code error;
  const bool made = fs::create_directories(folder, error);
  TANDEM_CHECK(!error && fs::is_directory(folder), "{}: cannot be made: {}", folder.string(),
               error ? error.message() : "a file has this name");
  RunFolder run(folder, lock(folder));
  run.made_here_ = made;
  return run;
}

RunFolder::~RunFolder() {
  if (path_.empty() || !made_here_) return;
  std::error_code error;
  fs::directory_iterator entry(path_, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const fs::path name = entry->path().filename();
    if (name != kLock && !(name == kMetrics && entry->file_size(error) == 0)) return;
  }
  if (error) return;  // what cannot be listed is kept
  fs::remove(path_ / kMetrics, error);
  fs::remove(path_ / kLock, error);
  fs::remove(path_, error);  // does nothing if another file has appeared
}

fs::path latest_run(const fs::path& parent, const std::string& stem) {
  fs::path latest;
  fs::file_time_type newest;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(parent, error)) {
    if (!is_of_stem(entry.path().filename().string(), stem)) continue;
    const fs::file_time_type time = fs::last_write_time(entry.path() / kLastCheckpoint, error);
    if (error || (!latest.empty() && time <= newest)) continue;
    latest = entry.path();
    newest = time;
  }
  return latest;
}

}  // namespace tandem
