// The data folder: where it is, and the locks in it.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "tandem/core/file_lock.h"

namespace tandem {

// Is called with what is going on ("downloading http://...", "unpacking enwik8", "waiting for process 123 ..."), bytes
// done and bytes in all (0 if unknown). It may throw to cancel; the next call resumes the download.
using CorpusProgress = std::function<void(std::string_view what, int64_t done, int64_t total)>;

// Returns $TANDEM_DATA, else ~/.cache/tandem; an empty path if neither TANDEM_DATA nor HOME is set.
std::filesystem::path default_data_dir();
// Returns `given`, or the default folder if it is empty. Error: there is none; the message names `what` needs it.
std::filesystem::path data_dir(const std::string& what, const std::filesystem::path& given);
// Creates the folder unless it exists. Error: it cannot be created.
void make_data_dir(const std::filesystem::path& dir);

// Locks the work on the file DIR/NAME, through the file DIR/.NAME.lock. While another process holds the lock it waits,
// and reports for which one. Error: the lock cannot be created; the message says how to choose another folder.
FileLock lock_data_file(const std::filesystem::path& dir, const std::string& name,
                        const CorpusProgress& progress);

// The longest NAME that lock_data_file() can take, in bytes: file systems allow 255 for a whole name.
inline constexpr size_t kLongestDataName = 255 - std::string_view("..lock").size();

}  // namespace tandem
