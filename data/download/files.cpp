// Reads whole files, computes checksums by OpenSSL, unpacks, and writes durably.
#include "tandem/data/download/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "tandem/core/check.h"
#include "tandem/core/digest.h"
#include "tandem/data/download/archive.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr size_t kBlock = size_t{1} << 16;

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

File open_to_read(const fs::path& path) {
  std::error_code ignored;
  TANDEM_CHECK(!fs::is_directory(path, ignored), "{}: is a folder; name a file", path.string());
  File file(std::fopen(path.c_str(), "rb"));
  TANDEM_CHECK(file, "{}: cannot be opened: {}", path.string(), std::strerror(errno));
  return file;
}

// Calls sink(span) with each block of the file.
template <class Sink>
void for_each_block(const fs::path& path, Sink&& sink) {
  File file = open_to_read(path);
  std::vector<uint8_t> block(kBlock);
  while (const size_t count = std::fread(block.data(), 1, block.size(), file.get()))
    sink(std::span<const uint8_t>(block.data(), count));
  TANDEM_CHECK(!std::ferror(file.get()), "{}: cannot be read: {}", path.string(), std::strerror(errno));
}

// Opens an archive at its file `entry`, in whatever folder, or at its only file.
std::unique_ptr<Archive> open_entry(const fs::path& path, const std::string& entry) {
  std::unique_ptr<Archive> archive = Archive::open(path);
  for (std::string name; archive->next(name);)
    if (name.empty() || fs::path(name).filename() == entry) return archive;
  throw CorruptArchive(fmt::format("{}: archive holds no file named '{}'", path.string(), entry));
}

void sync_path(const fs::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC);
  TANDEM_CHECK(descriptor >= 0, "{}: cannot be opened to sync: {}", path.string(), std::strerror(errno));
  // Some file systems cannot sync a folder and return EINVAL; there is nothing better to do then.
  const int error = ::fsync(descriptor) == 0 || errno == EINVAL ? 0 : errno;
  ::close(descriptor);
  TANDEM_CHECK(error == 0, "{}: cannot be synced to disk: {}", path.string(), std::strerror(error));
}

}  // namespace

std::vector<uint8_t> read_file(const fs::path& path) {
  std::vector<uint8_t> bytes;
  std::error_code not_regular;
  const auto size = fs::file_size(path, not_regular);
  if (!not_regular) bytes.reserve(size);
  for_each_block(path, [&bytes](std::span<const uint8_t> block) {
    bytes.insert(bytes.end(), block.begin(), block.end());
  });
  return bytes;
}

std::unique_ptr<std::FILE, int (*)(std::FILE*)> open_to_write(const fs::path& path, bool append) {
  // O_NONBLOCK refuses a pipe without a reader, for which the call would wait; for other files it means nothing.
  const int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (append ? O_APPEND : O_TRUNC);
  const int descriptor = ::open(path.c_str(), flags, 0666);
  TANDEM_CHECK(descriptor >= 0 || errno != ELOOP,
               "{}: cannot be written: it is a symbolic link, which is not followed; remove it",
               path.string());
  TANDEM_CHECK(descriptor >= 0, "{}: cannot be written: {}", path.string(), std::strerror(errno));
  return {::fdopen(descriptor, append ? "ab" : "wb"), std::fclose};
}

RunningChecksum::RunningChecksum(const std::string& algorithm) : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
  const EVP_MD* method = EVP_get_digestbyname(algorithm.c_str());
  TANDEM_CHECK(method && context_ && EVP_DigestInit_ex(context_.get(), method, nullptr) == 1,
               "checksum: OpenSSL has no digest named '{}' here", algorithm);
}

void RunningChecksum::update(std::span<const uint8_t> bytes) {
  TANDEM_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1, "checksum: OpenSSL failed");
}

std::string RunningChecksum::hex() {
  std::array<uint8_t, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  TANDEM_CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1, "checksum: OpenSSL failed");
  return fmt::format("{:02x}", fmt::join(digest.begin(), digest.begin() + size, ""));
}

std::string checksum(const std::string& algorithm, std::span<const uint8_t> bytes) {
  RunningChecksum digest(algorithm);
  digest.update(bytes);
  return digest.hex();
}

std::string file_checksum(const std::string& algorithm, const fs::path& path) {
  RunningChecksum digest(algorithm);
  for_each_block(path, [&digest](std::span<const uint8_t> block) { digest.update(block); });
  return digest.hex();
}

std::string file_digest(const fs::path& path) {
  Digest digest;
  for_each_block(path,
                 [&digest](std::span<const uint8_t> block) { digest.update(block.data(), block.size()); });
  return digest.hex();
}

Unpacked read_through(ByteSource& source, const std::string& algorithm) {
  RunningChecksum digest(algorithm);
  Unpacked result;
  std::vector<uint8_t> block(kBlock);
  while (const size_t count = source.read(block)) {
    digest.update({block.data(), count});
    result.size += static_cast<int64_t>(count);
  }
  result.checksum = digest.hex();
  return result;
}

Unpacked unpack(const fs::path& archive, const std::string& entry, const fs::path& destination,
                int64_t max_size, const std::string& algorithm, const ByteProgress& progress) {
  const std::unique_ptr<Archive> source = open_entry(archive, entry);
  RunningChecksum digest(algorithm);
  Unpacked result;
  std::error_code none;
  fs::remove(destination, none);  // what a killed process has left
  auto file = open_to_write(destination);
  try {
    std::vector<uint8_t> block(kBlock);
    while (const size_t count = source->read(block)) {
      result.size += static_cast<int64_t>(count);
      if (result.size > max_size)
        throw CorruptArchive(
            fmt::format("{}: holds more than the {} bytes expected", archive.string(), max_size));
      digest.update({block.data(), count});
      TANDEM_CHECK(std::fwrite(block.data(), 1, count, file.get()) == count, "{}: cannot be written: {}",
                   destination.string(), std::strerror(errno));
      if (progress) progress(result.size, max_size);
    }
    TANDEM_CHECK(std::fflush(file.get()) == 0 && ::fsync(::fileno(file.get())) == 0,
                 "{}: cannot be written: {}", destination.string(), std::strerror(errno));
  } catch (...) {
    file.reset();
    std::error_code ignored;
    fs::remove(destination, ignored);
    throw;
  }
  result.checksum = digest.hex();
  return result;
}

void commit_file(const fs::path& temporary, const fs::path& destination) {
  sync_path(temporary, O_RDONLY | O_NOFOLLOW);
  std::error_code error;
  fs::rename(temporary, destination, error);
  TANDEM_CHECK(!error, "{}: cannot be renamed to {}: {}", temporary.string(), destination.string(),
               error.message());
  const fs::path folder = destination.parent_path();
  sync_path(folder.empty() ? fs::path(".") : folder, O_RDONLY | O_DIRECTORY);
}

}  // namespace tandem
