// Making, locking and finding the folders of runs.
#include "tandem/tools/run/run_folder.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

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

// Returns the step that the name of a file, step-NUMBER.safetensors, gives; nullopt for other names.
std::optional<int64_t> step_of_name(std::string_view name) {
  constexpr std::string_view kBegin = "step-", kEnd = ".safetensors";
  if (!name.starts_with(kBegin) || !name.ends_with(kEnd)) return std::nullopt;
  name.remove_prefix(kBegin.size());
  name.remove_suffix(kEnd.size());
  int64_t step = 0;
  const auto [stopped, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (error != std::errc() || stopped != name.data() + name.size() || step < 0) return std::nullopt;
  return step;
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
    if (name != kLock && name != kRunFacts && !(name == kMetrics && entry->file_size(error) == 0)) return;
  }
  if (error) return;  // what cannot be listed is kept
  for (const char* name : {kMetrics, kRunFacts}) fs::remove(path_ / name, error);
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

void keep_step_checkpoint(const fs::path& folder, int64_t step, int64_t keep) {
  const fs::path last = folder / kLastCheckpoint, kept = folder / fmt::format("step-{:08}.safetensors", step);
  if (keep == 0 || !fs::exists(last)) return;
  const fs::path temporary = kept.string() + ".tmp";
  std::error_code error;
  fs::remove(temporary, error);
  // The last checkpoint is never written to but replaced, so both names can be those of one file.
  fs::create_hard_link(last, temporary, error);
  if (error) fs::copy_file(last, temporary, fs::copy_options::overwrite_existing, error);
  if (!error) fs::rename(temporary, kept, error);
  TANDEM_CHECK(!error, "{}: cannot be made: {}", kept.string(), error.message());
  fs::remove(temporary, error);  // is still there if the name was that of this file already
  std::vector<std::pair<int64_t, fs::path>> older;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::optional<int64_t> of = step_of_name(entry.path().filename().string());
    if (of && *of <= step) older.emplace_back(*of, entry.path());
  }
  std::sort(older.rbegin(), older.rend());
  for (size_t i = static_cast<size_t>(keep); i < older.size(); ++i)
    TANDEM_CHECK(fs::remove(older[i].second, error) && !error, "{}: cannot be removed: {}",
                 older[i].second.string(), error.message());
}

}  // namespace tandem
