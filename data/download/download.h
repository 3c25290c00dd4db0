// Downloading one file by libcurl: time-outs, resumption of what an earlier attempt left, progress.
#pragma once
#include <filesystem>
#include <string>

#include "data/download/files.h"

namespace tandem {

struct DownloadOptions {
  int connect_timeout_seconds = 15;
  int stall_timeout_seconds = 30;  // gives up when under 1,000 bytes/s arrive for that long
  int attempts = 5;                // on one URL; only the first is made unless the others find new bytes
  ByteProgress progress;           // what it throws ends the download and is passed on
};

struct DownloadResult {
  std::string failure;   // empty when all of the file arrived, else what went wrong
  bool resumed = false;  // bytes that were there before this call were kept and added to
};

// Fetches `url` (http, https, ftp or file) into the file `part`. Bytes already in `part` are taken for the
// beginning of the same file and only the rest is asked for; where the server cannot do that, or `part` is
// longer than the file, it starts afresh. What arrived stays in `part` after a failure; an empty `part` is
// removed. Nothing tells a stale beginning from a good one here: the caller checks the digest, and after a
// resumed download that fails it, removes `part` and calls again. Throws Error when `part` cannot be written.
DownloadResult download(const std::string& url, const std::filesystem::path& part,
                        const DownloadOptions& options = {});

}  // namespace tandem
