// Reads gzip by zlib, zip by libzip, and tar by its own code.
#include "tandem/data/download/archive.h"

#include <zip.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <utility>

#include "tandem/core/check.h"

namespace tandem {
namespace fs = std::filesystem;

struct GzipFile::Handle {
  explicit Handle(const fs::path& path) : file(gzopen(path.c_str(), "rb")) {}
  ~Handle() {
    if (file) gzclose_r(file);
  }
  gzFile file;
};

GzipFile::GzipFile(const fs::path& path) : name_(path.string()) {
  std::error_code ignored;
  TANDEM_CHECK(!fs::is_directory(path, ignored), "{}: is a folder; name a file", name_);
  handle_ = std::make_unique<Handle>(path);
  TANDEM_CHECK(handle_->file, "{}: cannot be opened: {}", name_, std::strerror(errno));
  gzbuffer(handle_->file, 1 << 16);
}

GzipFile::~GzipFile() = default;

bool GzipFile::is_gzip() const {
  return gzdirect(handle_->file) == 0;
}

size_t GzipFile::read(std::span<uint8_t> block) {
  const int count = gzread(handle_->file, block.data(), static_cast<unsigned>(block.size()));
  int code = Z_OK;
  const char* message = gzerror(handle_->file, &code);
  if (count < 0 || code == Z_BUF_ERROR)  // Z_BUF_ERROR: the file ends early
    throw CorruptArchive(fmt::format("{}: gzip data is truncated or altered: {}", name_, message));
  return static_cast<size_t>(count);
}

void GzipFile::rewind() {
  gzrewind(handle_->file);
}

namespace {

// In bytes: that of a path in the system. Patterns are matched with names in a time that grows faster than their length.
constexpr size_t kLongestName = 4096;

class SingleFile : public Archive {
 public:
  explicit SingleFile(std::unique_ptr<GzipFile> file) : file_(std::move(file)) {}
  bool next(std::string& name) override {
    name.clear();
    return std::exchange(first_, false);
  }
  size_t read(std::span<uint8_t> block) override { return file_->read(block); }

 private:
  std::unique_ptr<GzipFile> file_;
  bool first_ = true;
};

class ZipArchive : public Archive {
 public:
  explicit ZipArchive(const fs::path& path)
      : name_(path.string()), archive_(nullptr, zip_discard), file_(nullptr, zip_fclose) {
    int code = 0;
    archive_.reset(zip_open(path.c_str(), ZIP_RDONLY, &code));
    if (archive_) return;
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string message = zip_error_strerror(&error);
    zip_error_fini(&error);
    broken(message.c_str());
  }
  bool next(std::string& name) override {
    if (index_ == zip_get_num_entries(archive_.get(), 0)) return false;
    const auto index = static_cast<zip_uint64_t>(index_++);
    file_.reset(zip_fopen_index(archive_.get(), index, 0));
    const char* entry = zip_get_name(archive_.get(), index, 0);
    if (!file_ || !entry) broken(zip_strerror(archive_.get()));
    if (std::strlen(entry) > kLongestName) broken("a name of more than 4096 bytes");
    name = entry;
    return true;
  }
  size_t read(std::span<uint8_t> block) override {
    const zip_int64_t count = zip_fread(file_.get(), block.data(), block.size());
    if (count < 0) broken(zip_file_strerror(file_.get()));
    return static_cast<size_t>(count);
  }

 private:
  [[noreturn]] void broken(const char* message) {
    throw CorruptArchive(fmt::format("{}: zip archive is truncated or altered: {}", name_, message));
  }

  std::string name_;
  std::unique_ptr<zip_t, void (*)(zip_t*)> archive_;  // declared before file_, so that it is closed after it
  std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file_;
  zip_int64_t index_ = 0;
};

// A tar archive (POSIX.1-1988 ustar): blocks of 512 bytes, with a header before the data of each file. Names of
// more than 100 bytes are stored in one of three ways, and all of them occur: a prefix in the header; a
// preceding file of type L that holds the name (GNU tar); a preceding file of type x with lines "LENGTH
// path=NAME" (POSIX.1-2001). libarchive could read all this, but would bring 40 MB of other libraries for this
// one format.
class TarArchive : public Archive {
 public:
  TarArchive(std::string name, std::unique_ptr<GzipFile> file)
      : name_(std::move(name)), file_(std::move(file)) {}

  static bool is_tar(GzipFile& file) {
    Header header;
    const size_t count = file.read(header);
    file.rewind();
    return count == header.size() && std::memcmp(&header[257], "ustar", 5) == 0;
  }

  bool next(std::string& name) override {
    std::string long_name;
    while (true) {
      skip(left_ + padding_);
      Header header;
      if (file_->read(header) < kBlock) broken("it ends early");
      if (header[0] == 0) return false;  // a block of zeros is the end
      left_ = octal(header, 124, 12);
      padding_ = (kBlock - left_ % kBlock) % kBlock;
      const char type = static_cast<char>(header[156]);
      if (type == 'L') {
        long_name = content().c_str();  // ends at the first 0
        if (long_name.size() > kLongestName) broken("a name of more than 4096 bytes");
      } else if (type == 'x') {
        long_name = pax_path(content());
        if (long_name.size() > kLongestName) broken("a name of more than 4096 bytes");
      } else if (type == '0' || type == 0) {
        const std::string prefix = text(header, 345, 155);
        // GNU tar, whose magic continues with a blank, uses the bytes of the prefix for other things.
        const bool posix = header[262] == 0 && !prefix.empty();
        name = !long_name.empty() ? long_name : (posix ? prefix + "/" : "") + text(header, 0, 100);
        return true;
      } else {
        long_name.clear();  // it named a folder or a link
      }
    }
  }

  size_t read(std::span<uint8_t> block) override {
    if (left_ == 0) return 0;
    const size_t count = file_->read(block.first(std::min(block.size(), left_)));
    if (count == 0) broken("it ends inside of a file");
    left_ -= count;
    return count;
  }

 private:
  static constexpr size_t kBlock = 512;
  using Header = std::array<uint8_t, kBlock>;

  [[noreturn]] void broken(const char* reason) {
    throw CorruptArchive(fmt::format("{}: tar archive is truncated or altered: {}", name_, reason));
  }
  static std::string text(const Header& header, size_t begin, size_t longest) {
    const char* field = reinterpret_cast<const char*>(&header[begin]);
    return {field, strnlen(field, longest)};
  }
  size_t octal(const Header& header, size_t begin, size_t longest) {
    std::string digits = text(header, begin, longest);
    digits.erase(0, std::min(digits.find_first_not_of(' '), digits.size()));
    size_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
    if (error != std::errc() || std::string_view(end).find_first_not_of(' ') != std::string_view::npos)
      broken("a header without a size");
    return value;
  }
  void skip(size_t bytes) {
    std::array<uint8_t, 1 << 16> block;
    left_ = bytes;
    while (left_ > 0) read(block);
  }
  // Reads the whole current entry, which is a name or a list of attributes.
  std::string content() {
    if (left_ > size_t{1} << 20) broken("names and attributes of more than 1 MiB");
    std::string all(left_, '\0');
    for (size_t at = 0; at < all.size();)
      at += read({reinterpret_cast<uint8_t*>(all.data()) + at, all.size() - at});
    return all;
  }
  // Returns the value of the last attribute "path", which counts, or "" if there is none. An attribute is
  // "LENGTH KEY=VALUE\n", where LENGTH counts all of its bytes.
  std::string pax_path(std::string_view attributes) {
    std::string_view path;
    while (!attributes.empty()) {
      size_t length = 0;
      const auto [end, error] =
          std::from_chars(attributes.data(), attributes.data() + attributes.size(), length);
      const auto digits = static_cast<size_t>(end - attributes.data());
      if (error != std::errc() || length > attributes.size() || length < digits + 2 ||
          attributes[digits] != ' ' || attributes[length - 1] != '\n')
        broken("an attribute without its length");
      const std::string_view attribute = attributes.substr(digits + 1, length - digits - 2);
      if (attribute.starts_with("path=")) path = attribute.substr(5);
      attributes.remove_prefix(length);
    }
    return std::string(path);
  }

  std::string name_;
  std::unique_ptr<GzipFile> file_;
  size_t left_ = 0;     // unread bytes of the current file
  size_t padding_ = 0;  // bytes between its end and the next header
};

bool is_zip(const fs::path& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  std::array<char, 4> magic{};
  return file && std::fread(magic.data(), 1, magic.size(), file.get()) == magic.size() &&
         std::memcmp(magic.data(), "PK\3\4", magic.size()) == 0;
}

}  // namespace

std::unique_ptr<Archive> Archive::open(const fs::path& path) {
  if (is_zip(path)) return std::make_unique<ZipArchive>(path);
  auto file = std::make_unique<GzipFile>(path);
  if (TarArchive::is_tar(*file)) return std::make_unique<TarArchive>(path.string(), std::move(file));
  return std::make_unique<SingleFile>(std::move(file));
}

}  // namespace tandem
