// Reading of safetensors files, and the check of their digests.
#include "tandem/core/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "tandem/core/check.h"
#include "tandem/core/digest.h"
#include "tandem/core/json.h"
#include "tandem/core/safetensors_format.h"

static_assert(std::endian::native == std::endian::little,
              "safetensors data are read and written in the host's byte order");

namespace tandem {
namespace {

using namespace safetensors;
using nlohmann::json;

std::atomic<bool> digests_are_verified = true;

[[noreturn]] void fail_damaged(const std::string& path, const std::string& part, const std::string& reason) {
  throw DamagedFile(
      fmt::format("{}: {} is altered or damaged since it was written ({}); restore a copy of the file", path,
                  part, reason));
}

bool is_offset(const json& value) {
  return value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t{INT64_MAX};
}

bool are_offsets(const json& value) {
  return value.is_array() && std::ranges::all_of(value, is_offset);
}

}  // namespace

bool verify_digests() {
  return digests_are_verified;
}

void set_verify_digests(bool verify) {
  digests_are_verified = verify;
}

class SafetensorsFile::Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    TANDEM_CHECK(file_ >= 0, "cannot read {}: {}", path, std::strerror(errno));
    struct stat info {};
    const bool regular = fstat(file_, &info) == 0 && S_ISREG(info.st_mode);
    size_ = static_cast<uint64_t>(info.st_size);
    if (regular) return;
    ::close(file_);
    detail::fail("cannot read {}: not a regular file", path);
  }
  ~Reader() { ::close(file_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  uint64_t size() const { return size_; }

  // Error, which names `what`: the system cannot read, or the file ends too early.
  void read_at(uint64_t offset, void* to, uint64_t bytes, const std::string& what) const {
    constexpr uint64_t kLargestCall = uint64_t{1} << 30;
    char* next = static_cast<char*>(to);
    while (bytes > 0) {
      const ssize_t got = pread(file_, next, std::min(bytes, kLargestCall), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      TANDEM_CHECK(got >= 0, "{}: {}: cannot be read: {}", path_, what, std::strerror(errno));
      TANDEM_CHECK(got > 0, "{}: {}: the file ends {} bytes too early: it is truncated", path_, what, bytes);
      next += got;
      offset += static_cast<uint64_t>(got);
      bytes -= static_cast<uint64_t>(got);
    }
  }

 private:
  std::string path_;
  int file_;
  uint64_t size_ = 0;
};

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  SafetensorsFile file;
  file.path_ = path;
  file.verify_ = verify_digests();
  file.reader_ = std::make_shared<Reader>(path);
  const uint64_t size = file.reader_->size();
  uint64_t length = 0;
  TANDEM_CHECK(size >= sizeof length, "{}: {} bytes are too few for a safetensors file: it is truncated",
               path, size);
  file.reader_->read_at(0, &length, sizeof length, "header length");
  TANDEM_CHECK(
      length <= kLongestHeader && length <= size - sizeof length,
      "{}: header length is {}, but {} bytes follow (and {} are allowed): not a safetensors file, or truncated",
      path, length, size - sizeof length, kLongestHeader);
  std::string start(sizeof length + length, '\0');
  file.reader_->read_at(0, start.data(), start.size(), "header");
  file.data_start_ = start.size();
  const bool has_own_digest = file.check_header(start);
  file.parse_header(std::string_view(start).substr(sizeof length));
  file.check_layout(size - file.data_start_);
  file.take_digests(has_own_digest);
  return file;
}

// Compares the bytes before the data with the digest among them. Returns whether there is one.
bool SafetensorsFile::check_header(const std::string& start) const {
  const size_t position = header_digest_position(start);
  if (position == std::string::npos) return false;
  if (!verify_) return true;
  const std::string expected = start.substr(position, Digest::kCharacters);
  const std::string found = header_digest(start, position);
  if (found != expected)
    fail_damaged(path_, "the header", fmt::format("its digest is {}, not {}", found, in_quotes(expected)));
  return true;
}

// Reads the fields of one tensor in the header.
class SafetensorsFile::EntryParser {
 public:
  EntryParser(const std::string& path, const std::string& name) : path_(path), name_(name) {}

  Entry parse(const json& fields) const;

 private:
  // Composed for messages only: a file may have many tensors.
  std::string where() const { return fmt::format("{}: tensor {}", path_, in_quotes(name_)); }

  const std::string& path_;
  const std::string& name_;
};

SafetensorsFile::Entry SafetensorsFile::EntryParser::parse(const json& fields) const {
  TANDEM_CHECK(fields.is_object(), "{}: {}, not an object", where(), fields.type_name());
  const auto dtype_field = fields.find("dtype"), shape = fields.find("shape"),
             offsets = fields.find("data_offsets");
  TANDEM_CHECK(dtype_field != fields.end() && dtype_field->is_string(), "{}: dtype is missing or not text",
               where());
  TANDEM_CHECK(shape != fields.end() && are_offsets(*shape), "{}: shape is missing or not an array of sizes",
               where());
  TANDEM_CHECK(offsets != fields.end() && are_offsets(*offsets) && offsets->size() == 2,
               "{}: data_offsets is missing or not an array of two offsets", where());

  Entry entry;
  const auto& dtype_name = dtype_field->get_ref<const std::string&>();
  const std::optional<DType> dtype = dtype_from(dtype_name);
  TANDEM_CHECK(dtype, "{}: dtype {} is not one of F32 F64 BF16 I32 I64 U8; convert the file", where(),
               in_quotes(dtype_name));
  entry.dtype = *dtype;
  try {
    entry.shape = Shape(std::span<const int64_t>(shape->get<std::vector<int64_t>>()));
  } catch (const Error& error) {
    detail::fail("{}: {}", where(), error.what());
  }
  entry.begin = (*offsets)[0].get<uint64_t>();
  entry.end = (*offsets)[1].get<uint64_t>();
  TANDEM_CHECK(entry.begin <= entry.end, "{}: data_offsets [{}, {}] run backwards", where(), entry.begin,
               entry.end);
  const uint64_t elements = static_cast<uint64_t>(entry.shape.numel()), width = size_of(entry.dtype);
  TANDEM_CHECK(elements == (entry.end - entry.begin) / width && (entry.end - entry.begin) % width == 0,
               "{}: data_offsets [{}, {}] do not hold {} elements of {}, shape {}", where(), entry.begin,
               entry.end, elements, dtype_name, entry.shape.str());
  return entry;
}

void SafetensorsFile::parse_header(std::string_view header) {
  constexpr int kDeepest = 4;
  const json root =
      parse_json(header, path_ + ": header", {.depth = kDeepest, .bytes = size_t{kLongestHeader}});
  TANDEM_CHECK(root.is_object(), "{}: header is {}, not an object of tensors", path_, root.type_name());
  for (const auto& [name, fields] : root.items()) {
    if (name != kMetadata) {
      entries_.emplace(name, EntryParser(path_, name).parse(fields));
      continue;
    }
    TANDEM_CHECK(fields.is_object(), "{}: {} is {}, not an object", path_, kMetadata, fields.type_name());
    for (const auto& [key, value] : fields.items()) {
      TANDEM_CHECK(value.is_string(), "{}: {}: {} is {}, not text", path_, kMetadata, in_quotes(key),
                   value.type_name());
      metadata_[key] = value.get<std::string>();
    }
  }
}

void SafetensorsFile::check_layout(uint64_t data_bytes) {
  using Item = std::map<std::string, Entry>::value_type;
  std::vector<const Item*> order;  // by data; empty tensors at one place by name
  for (const Item& item : entries_) order.push_back(&item);
  std::ranges::stable_sort(order, {},
                           [](const Item* item) { return std::pair(item->second.begin, item->second.end); });
  uint64_t covered = 0;
  for (const Item* item : order) {
    const auto& [name, e] = *item;
    TANDEM_CHECK(e.begin >= covered,
                 "{}: tensor {}: data_offsets [{}, {}] overlap the tensor before, which ends at {}", path_,
                 in_quotes(name), e.begin, e.end, covered);
    TANDEM_CHECK(e.begin == covered, "{}: tensor {}: a hole of {} bytes before its data_offsets [{}, {}]",
                 path_, in_quotes(name), e.begin - covered, e.begin, e.end);
    TANDEM_CHECK(e.end <= data_bytes,
                 "{}: tensor {}: data_offsets [{}, {}] lie beyond the {} bytes of data: truncated", path_,
                 in_quotes(name), e.begin, e.end, data_bytes);
    covered = e.end;
    names_.push_back(name);
  }
  TANDEM_CHECK(covered == data_bytes, "{}: {} bytes after the last tensor's data", path_,
               data_bytes - covered);
}

// Moves the digests from the metadata to the tensors. Their two keys come together: one alone is a damaged file.
void SafetensorsFile::take_digests(bool has_own_digest) {
  const auto tensors = metadata_.extract(kTensorDigests);
  const bool named = !metadata_.extract(kHeaderDigest).empty();
  has_digests_ = has_own_digest && !tensors.empty();
  if (!has_digests_) {
    if (verify_ && (named || !tensors.empty()))
      fail_damaged(path_, "the header",
                   fmt::format("of {} and {} one is missing", kHeaderDigest, kTensorDigests));
    return;
  }
  std::string_view rest = tensors.mapped();
  for (const std::string& name : names_) {
    const bool more = rest.size() >= Digest::kCharacters;
    if (!more && verify_) fail_damaged(path_, "the header", "it has too few digests");
    entries_.at(name).digest = rest.substr(0, Digest::kCharacters);
    rest.remove_prefix(std::min(rest.size(), Digest::kCharacters + 1));
  }
}

void SafetensorsFile::require_digests() const {
  if (!has_digests_ && verify_)
    fail_damaged(path_, "the header", "it has no digests, which its format demands");
}

const SafetensorsFile::Entry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  TANDEM_CHECK(found != entries_.end(), "{}: no tensor {} among its {}", path_, in_quotes(name),
               entries_.size());
  return found->second;
}

void SafetensorsFile::check_digest(const std::string& name, const std::string& found) const {
  const std::string& expected = entry(name).digest;
  if (found != expected)
    fail_damaged(path_, "tensor " + in_quotes(name),
                 fmt::format("its digest is {}, not {}", found, in_quotes(expected)));
}

Tensor SafetensorsFile::get(const std::string& name) const {
  const Entry& e = entry(name);
  Tensor tensor(e.shape, e.dtype);
  reader_->read_at(data_start_ + e.begin, tensor.raw(), e.end - e.begin, "tensor " + in_quotes(name));
  if (verifies()) check_digest(name, digest_of(tensor.raw(), e.end - e.begin));
  return tensor;
}

void SafetensorsFile::verify(const std::string& name) const {
  const Entry& e = entry(name);
  if (!verifies()) return;
  constexpr uint64_t kPiece = uint64_t{1} << 20;
  std::string piece;
  Digest digest;
  for (uint64_t at = e.begin; at < e.end; at += piece.size()) {
    piece.resize(std::min(kPiece, e.end - at));
    reader_->read_at(data_start_ + at, piece.data(), piece.size(), "tensor " + in_quotes(name));
    digest.update(piece.data(), piece.size());
  }
  check_digest(name, digest.hex());
}

Tensor SafetensorsFile::get(const std::string& name, DType dtype, const Shape& shape) const {
  const Entry& e = entry(name);
  TANDEM_CHECK(e.dtype == dtype && e.shape == shape, "{}: tensor {} is {} {}, expected {} {}", path_,
               in_quotes(name), name_of(e.dtype), e.shape.str(), name_of(dtype), shape.str());
  return get(name);
}

}  // namespace tandem
