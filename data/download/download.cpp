// The transfer by libcurl; decides when to resume, to start over, or to give up.
#include "data/download/download.h"

#include <curl/curl.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>

#include "core/check.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// State that the callbacks of one transfer share. An exception must not cross libcurl's C frames, so it is stored here.
struct Transfer {
  std::FILE* file;
  int64_t offset;  // bytes in the file before the transfer
  const ByteProgress& progress;
  int write_error = 0;
  std::exception_ptr thrown = nullptr;
};

size_t on_bytes(char* bytes, size_t, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const size_t written = std::fwrite(bytes, 1, count, transfer.file);
  if (written != count) transfer.write_error = errno;
  return written;
}

int on_progress(void* user, curl_off_t total, curl_off_t done, curl_off_t, curl_off_t) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (!transfer.progress || done == 0) return 0;
  try {
    transfer.progress(transfer.offset + done, total == 0 ? 0 : transfer.offset + total);
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
  std::string message;
};

// Makes one request for the bytes from `offset` on and appends them to `part`.
Outcome transfer_once(const std::string& url, const fs::path& part, int64_t offset,
                      const DownloadOptions& options) {
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  CHECK(curl, "download: libcurl cannot be started");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
      std::fopen(part.c_str(), offset > 0 ? "ab" : "wb"), std::fclose);
  CHECK(file, "{}: cannot be written: {}", part.string(), std::strerror(errno));
  Transfer transfer{file.get(), offset, options.progress};
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
  CHECK(transfer.write_error == 0, "{}: cannot be written: {}", part.string(),
        std::strerror(transfer.write_error));
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  return {code, status, error[0] != '\0' ? error.data() : curl_easy_strerror(code)};
}

}  // namespace

DownloadResult download(const std::string& url, const fs::path& part, const DownloadOptions& options) {
  static std::once_flag started;
  std::call_once(started, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });

  DownloadResult result;
  result.resumed = size_or_zero(part) > 0;
  for (int attempt = 0; attempt < options.attempts; ++attempt) {
    const int64_t offset = size_or_zero(part);
    const Outcome outcome = transfer_once(url, part, offset, options);
    // Status 416: the file has no bytes from `offset` on, so all of it is here. If `part` is longer than the
    // file, the caller's checksum finds that out.
    if (outcome.code == CURLE_OK || (outcome.status == 416 && offset > 0)) {
      result.failure.clear();
      return result;
    }
    result.failure = outcome.message;
    const bool cannot_resume = outcome.code == CURLE_RANGE_ERROR || outcome.code == CURLE_BAD_DOWNLOAD_RESUME;
    if (offset > 0 && cannot_resume) {
      std::error_code ignored;
      fs::remove(part, ignored);
      result.resumed = false;
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

}  // namespace tandem
