// Reads texts, and tells packed files by the bytes with which they begin.
#include "tandem/data/text_file.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <string>
#include <string_view>

#include "tandem/core/check.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

using namespace std::string_view_literals;

struct Packing {
  size_t offset;  // where its magic stands
  std::string_view magic;
  const char* name;
  const char* unpack;  // the command that unpacks a file
};

constexpr Packing kPackings[] = {
    {0, "PK\3\4"sv, "a zip archive", "unzip"},
    {0,
     "\xfd"
     "7zXZ\0"sv,
     "packed by xz", "xz -dk"},
    {0, "\x28\xb5\x2f\xfd"sv, "packed by zstd", "zstd -d"},
    {0, "BZh91AY&SY"sv, "packed by bzip2", "bzip2 -dk"},
    {0, "7z\xbc\xaf\x27\x1c"sv, "a 7z archive", "7z x"},
    {257, "ustar"sv, "a tar archive", "tar -xf"},
};

void refuse_packed(const std::string& name, std::span<const uint8_t> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const Packing& packing : kPackings)
    TANDEM_CHECK(text.size() < packing.offset || !text.substr(packing.offset).starts_with(packing.magic),
                 "{}: is {}, which is not unpacked here; unpack it (`{}`) and name the text", name,
                 packing.name, packing.unpack);
}

const fs::path& checked(const fs::path& path) {
  std::error_code missing;
  const fs::file_status status = fs::status(path, missing);
  TANDEM_CHECK(fs::exists(status), "{}: cannot be opened: No such file or directory", path.string());
  TANDEM_CHECK(!fs::is_directory(status), "{}: is a folder; name a file", path.string());
  TANDEM_CHECK(fs::is_regular_file(status) || fs::is_fifo(status),
               "{}: is neither a file nor a pipe; name a file", path.string());
  return path;
}

// Returns the content's size as the last bytes of a gzip file state it, so that memory can be reserved at once.
// A damaged file may state any number, so the result is at most what gzip can compress into a file of this
// length.
size_t claimed_size(const fs::path& path, size_t file_size) {
  constexpr size_t kLargestRatio = 1032;
  std::array<uint8_t, 4> end{};
  std::ifstream file(path, std::ios::binary);
  file.seekg(-static_cast<std::streamoff>(end.size()), std::ios::end);
  if (!file.read(reinterpret_cast<char*>(end.data()), end.size())) return 0;
  const size_t size = end[0] | size_t{end[1]} << 8 | size_t{end[2]} << 16 | size_t{end[3]} << 24;
  return std::min(size, kLargestRatio * file_size);
}

}  // namespace

TextFile::TextFile(const fs::path& path) : path_(checked(path)), file_(path) {}

size_t TextFile::read(std::span<uint8_t> block) {
  const size_t count = file_.read(block);
  if (!begun_) refuse_packed(path_.string(), block.first(count));
  begun_ = true;
  return count;
}

size_t memory_of_machine() {
  return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

std::vector<uint8_t> read_text(TextFile& file, size_t max_bytes) {
  const auto check_size = [&file, max_bytes](size_t size) {
    TANDEM_CHECK(
        size <= max_bytes,
        "{}: holds more than the {} bytes that are held in memory; read a part of it, or read it as words, "
        "which are not held in memory",
        file.path().string(), max_bytes);
  };
  std::vector<uint8_t> bytes;
  std::error_code pipe;
  const size_t size = fs::file_size(file.path(), pipe);
  if (!pipe) {
    check_size(size);
    bytes.reserve(std::min(max_bytes, file.is_gzip() ? claimed_size(file.path(), size) : size));
  }
  std::vector<uint8_t> block(size_t{1} << 16);
  while (const size_t count = file.read(block)) {
    check_size(bytes.size() + count);
    bytes.insert(bytes.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(count));
  }
  return bytes;
}

}  // namespace tandem
