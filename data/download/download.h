// download(): gets one file by libcurl, with time-outs, resumption of an earlier attempt, and progress.
#pragma once
#include <filesystem>
#include <string>

#include "tandem/data/download/files.h"

namespace tandem {

struct DownloadOptions {
  int connect_timeout_seconds = 15;
  int stall_timeout_seconds = 30;  // gives up after so long below 1,000 bytes/s
  int attempts = 5;                // largest number, as long as each brings new bytes
  int64_t max_bytes = 0;           // a server that announces or sends more is stopped; 0: no limit
  ByteProgress progress;           // an exception from it ends the download and reaches the caller
};

struct DownloadResult {
  std::string failure;   // empty: the whole file has arrived; else what went wrong
  bool resumed = false;  // the file begins with bytes that were there before the call
};

// Downloads `url` (http, https, ftp or file) into the file `part`. Bytes already in `part` are taken for the
// beginning of the same file, and only the rest is requested; if the server cannot do that, or `part` is longer
// than the file, the download starts over. After a failure `part` keeps the bytes that arrived, for the next
// attempt; it is removed if it is empty or longer than allowed. The beginning is not verified: the caller checks the
// checksum and, if it is wrong after a resumed download, removes `part` and calls again. Error: `part` cannot be
// written; it is a symbolic link, which is not followed.
DownloadResult download(const std::string& url, const std::filesystem::path& part,
                        const DownloadOptions& options = {});

// Returns a URL for messages: *** stands for a user's name and password and for what follows a '?', which may hold
// tokens, and control characters are escaped.
std::string url_for_message(const std::string& url);

}  // namespace tandem
