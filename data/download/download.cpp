// The transfer by libcurl; decides when to resume, to start over, or to give up.
#include "tandem/data/download/download.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>

#include "tandem/core/check.h"
#include "tandem/core/utf8.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// State that the callbacks of one transfer share. An exception must not cross libcurl's C frames, so it is stored here.
struct Transfer {
  std::FILE* file;
  int64_t offset;  // bytes in the file before the transfer
  const DownloadOptions& options;
  int64_t received = 0;
  bool too_large = false;  // the server announces or sends more than options.max_bytes
  int write_error = 0;
  std::exception_ptr thrown = nullptr;

  // Returns whether a file of `bytes` in all is small enough, and remembers it if not.
  bool allows(int64_t bytes) {
    if (options.max_bytes > 0 && bytes > options.max_bytes) too_large = true;
    return !too_large;
  }
};

size_t on_bytes(char* bytes, size_t, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  transfer.received += static_cast<int64_t>(count);
  if (!transfer.allows(transfer.offset + transfer.received)) return 0;
  const size_t written = std::fwrite(bytes, 1, count, transfer.file);
  if (written != count) transfer.write_error = errno;
  return written;
}

int on_progress(void* user, curl_off_t total, curl_off_t done, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (done == 0) return 0;
  if (!transfer.allows(transfer.offset + std::max(done, total))) return 1;
  const ByteProgress& progress = transfer.options.progress;
  if (!progress) return 0;
  try {
    progress(transfer.offset + done, total == 0 ? 0 : transfer.offset + total);
    return 0;
  } catch (...) {
    transfer.thrown = std::current_exception();
    return 1;
  }
}

int64_t size_or_zero(const fs::path& path) {
  std::error_code missing;
  const auto size = fs::file_size(path, missing);
  return missing ? 0 : static_cast<int64_t>(size);
}

struct Outcome {
  CURLcode code = CURLE_OK;
  long status = 0;  // HTTP status code
  bool too_large = false;
  std::string message;
};

// Makes one request for the bytes from `offset` on and appends them to `part`.
Outcome transfer_once(const std::string& url, const fs::path& part, int64_t offset,
                      const DownloadOptions& options) {
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  TANDEM_CHECK(curl, "download: libcurl cannot be started");
  const auto file = open_to_write(part, /*append=*/offset > 0);
  Transfer transfer{.file = file.get(), .offset = offset, .options = options};
  std::array<char, CURL_ERROR_SIZE> error{};

  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_USERAGENT, "tandem/0.1");  // some mirrors refuse requests without one
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_MAXREDIRS, 10L);
  curl_easy_setopt(curl.get(), CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, static_cast<long>(options.connect_timeout_seconds));
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_LIMIT, 1000L);
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.stall_timeout_seconds));
  curl_easy_setopt(curl.get(), CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(offset));
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, error.data());
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, on_bytes);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, &transfer);

  const CURLcode code = curl_easy_perform(curl.get());
  if (transfer.thrown) std::rethrow_exception(transfer.thrown);
  if (std::fflush(file.get()) != 0 && transfer.write_error == 0) transfer.write_error = errno;
  TANDEM_CHECK(transfer.write_error == 0, "{}: cannot be written: {}", part.string(),
               std::strerror(transfer.write_error));
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  return {code, status, transfer.too_large,
          printable_start(error[0] != '\0' ? error.data() : curl_easy_strerror(code), CURL_ERROR_SIZE)};
}

}  // namespace

DownloadResult download(const std::string& url, const fs::path& part, const DownloadOptions& options) {
  static std::once_flag started;
  std::call_once(started, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });

  DownloadResult result;
  result.resumed = size_or_zero(part) > 0;
  const auto start_over = [&part, &result] {
    std::error_code ignored;
    fs::remove(part, ignored);
    result.resumed = false;
  };
  if (options.max_bytes > 0 && size_or_zero(part) > options.max_bytes) start_over();
  for (int attempt = 0; attempt < options.attempts; ++attempt) {
    const int64_t offset = size_or_zero(part);
    const Outcome outcome = transfer_once(url, part, offset, options);
    // Status 416: the file has no bytes from `offset` on, so all of it is here. If `part` is longer than the
    // file, the caller's checksum finds that out.
    if (outcome.code == CURLE_OK || (outcome.status == 416 && offset > 0)) {
      result.failure.clear();
      return result;
    }
    const bool cannot_resume = outcome.code == CURLE_RANGE_ERROR || outcome.code == CURLE_BAD_DOWNLOAD_RESUME;
    result.failure = outcome.too_large
                         ? fmt::format("it sends more than the {} bytes expected", options.max_bytes)
                         : outcome.message;
    if (outcome.too_large || (offset > 0 && cannot_resume)) {
      start_over();  // what was there before may be the beginning of another file
      if (offset == 0) break;
    } else if (size_or_zero(part) <= offset) {
      break;
    }
  }
  if (size_or_zero(part) == 0) {
    std::error_code ignored;
    fs::remove(part, ignored);
  }
  return result;
}

std::string url_for_message(const std::string& url) {
  constexpr size_t kLongest = 1000;
  std::string shown = url.substr(0, url.find('?'));
  if (shown.size() < url.size()) shown += "?***";
  const size_t scheme = shown.find("://");
  const size_t begin = scheme == std::string::npos ? 0 : scheme + 3;
  const size_t at = shown.substr(0, shown.find_first_of("/?#", begin)).rfind('@');
  if (at != std::string::npos && at >= begin) shown.replace(begin, at - begin, "***");
  return printable_start(shown, kLongest);
}

}  // namespace tandem
