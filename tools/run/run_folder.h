// The folder of a training run, which one process at a time writes to.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "tandem/core/file_lock.h"

namespace tandem {

inline constexpr const char* kLastCheckpoint = "last.safetensors";
inline constexpr const char* kBestCheckpoint = "best.safetensors";
inline constexpr const char* kMetrics = "metrics.jsonl";
inline constexpr const char* kRunFacts = "run.json";

// A folder that this process has locked, by the file run.lock in it. Any end of the process releases the lock.
class RunFolder {
 public:
  // Makes the first of PARENT/STEM, PARENT/STEM-2, PARENT/STEM-3, ... that does not exist, and locks it. Two processes
  // that do this at the same moment get two folders. Error: it cannot be made.
  static RunFolder make_new(const std::filesystem::path& parent, const std::string& stem);
  // Makes `folder`, if need be, and locks it. Errors: it holds a run already; another process, which is named, is
  // writing to it; it cannot be made.
  static RunFolder make(const std::filesystem::path& folder);
  // Makes `folder`, if need be, and locks it, whatever it holds. Errors: as make() otherwise.
  static RunFolder open_or_make(const std::filesystem::path& folder);

  RunFolder(RunFolder&&) = default;
  // Removes the folder again if this object made it and no run was written to it.
  ~RunFolder();

  const std::filesystem::path& path() const { return path_; }

 private:
  RunFolder(std::filesystem::path path, FileLock lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::filesystem::path path_;
  FileLock lock_;
  bool made_here_ = false;
};

// Returns that one of PARENT/STEM, PARENT/STEM-2, ... whose last checkpoint is the newest; an empty path if none of them
// holds a run.
std::filesystem::path latest_run(const std::filesystem::path& parent, const std::string& stem);

// Keeps the last checkpoint of a run, which is that of `step`, as step-00000123.safetensors, too, and removes all but the
// newest `keep` of these names up to it. Does nothing if keep is 0. Error: a file cannot be made or removed.
void keep_step_checkpoint(const std::filesystem::path& folder, int64_t step, int64_t keep);

}  // namespace tandem
