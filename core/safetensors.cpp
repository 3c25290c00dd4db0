// Reading and writing of safetensors files.
#include "core/safetensors.h"

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
#include <set>
#include <string_view>

#include "core/atomic_file.h"
#include "core/check.h"

static_assert(std::endian::native == std::endian::little,
              "safetensors data are read and written in the host's byte order");

namespace tandem {
namespace {

using nlohmann::json;

constexpr uint64_t kLongestHeader = 100'000'000;
constexpr char kMetadata[] = "__metadata__";
constexpr std::pair<std::string_view, DType> kDTypes[] = {{"F32", DType::f32},   {"F64", DType::f64},
                                                          {"BF16", DType::bf16}, {"I32", DType::i32},
                                                          {"I64", DType::i64},   {"U8", DType::u8}};

std::optional<DType> dtype_from(std::string_view name) {
  for (const auto& [known, dtype] : kDTypes)
    if (known == name) return dtype;
  return std::nullopt;
}

std::string_view format_name(DType dtype) {
  for (const auto& [name, known] : kDTypes)
    if (known == dtype) return name;
  return "";
}

// Returns the name for messages: in quotes, with control and non-ASCII characters escaped.
std::string in_quotes(const std::string& name) {
  return json(name).dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
}

// Refuses two things that the JSON library would accept silently: a key that occurs twice (the last would win), and
// nesting deeper than any header has.
class StrictKeys {
 public:
  explicit StrictKeys(const std::string& path) : path_(path) {}

  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    CHECK(depth <= kDeepest, "{}: header: nested more than {} deep", path_, kDeepest);
    if (event == json::parse_event_t::object_start) {
      open_.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      open_.pop_back();
    } else if (event == json::parse_event_t::key) {
      const std::string& key = parsed.get_ref<const std::string&>();
      CHECK(open_.back().insert(key).second, "{}: {}{} occurs twice in the header", path_,
            open_.size() == 1 ? "tensor " : fmt::format("tensor {}: key ", in_quotes(tensor_)),
            in_quotes(key));
      if (open_.size() == 1) tensor_ = key;
    }
    return true;
  }

 private:
  static constexpr int kDeepest = 4;
  const std::string& path_;
  std::vector<std::set<std::string>> open_;  // keys seen in each object being read, outermost first
  std::string tensor_;
};

std::atomic<bool> digests_are_verified = true;

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
    CHECK(file_ >= 0, "cannot read {}: {}", path, std::strerror(errno));
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
      CHECK(got >= 0, "{}: {}: cannot be read: {}", path_, what, std::strerror(errno));
      CHECK(got > 0, "{}: {}: the file ends {} bytes too early: it is truncated", path_, what, bytes);
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
  file.reader_ = std::make_shared<Reader>(path);
  const uint64_t size = file.reader_->size();
  uint64_t length = 0;
  CHECK(size >= sizeof length, "{}: {} bytes are too few for a safetensors file: it is truncated", path,
        size);
  file.reader_->read_at(0, &length, sizeof length, "header length");
  CHECK(
      length <= kLongestHeader && length <= size - sizeof length,
      "{}: header length is {}, but {} bytes follow (and {} are allowed): not a safetensors file, or truncated",
      path, length, size - sizeof length, kLongestHeader);
  std::string header(length, '\0');
  file.reader_->read_at(sizeof length, header.data(), length, "header");
  file.data_start_ = sizeof length + length;
  file.parse_header(header);
  file.check_layout(size - file.data_start_);
  return file;
}

void SafetensorsFile::parse_header(const std::string& header) {
  json root;
  try {
    root = json::parse(header, StrictKeys(path_));
  } catch (const json::exception& error) {
    detail::fail("{}: header is not JSON: {}", path_, error.what());
  }
  CHECK(root.is_object(), "{}: header is {}, not an object of tensors", path_, root.type_name());
  for (const auto& [name, fields] : root.items()) {
    const std::string where = fmt::format("{}: tensor {}", path_, in_quotes(name));
    CHECK(fields.is_object(), "{}: {}, not an object", where, fields.type_name());
    if (name == kMetadata) {
      for (const auto& [key, value] : fields.items()) {
        CHECK(value.is_string(), "{}: {} is {}, not text", where, in_quotes(key), value.type_name());
        metadata_[key] = value.get<std::string>();
      }
      continue;
    }
    const auto unsigned_array = [](const json& value) {
      return value.is_array() && std::ranges::all_of(value, [](const json& item) {
               return item.is_number_unsigned() && item.get<uint64_t>() <= uint64_t{INT64_MAX};
             });
    };
    const auto dtype_field = fields.find("dtype"), shape_field = fields.find("shape"),
               offsets = fields.find("data_offsets");
    CHECK(dtype_field != fields.end() && dtype_field->is_string(), "{}: dtype is missing or not text", where);
    CHECK(shape_field != fields.end() && unsigned_array(*shape_field),
          "{}: shape is missing or not an array of sizes", where);
    CHECK(offsets != fields.end() && unsigned_array(*offsets) && offsets->size() == 2,
          "{}: data_offsets is missing or not an array of two offsets", where);

    Entry entry;
    const auto& dtype_name = dtype_field->get_ref<const std::string&>();
    const std::optional<DType> dtype = dtype_from(dtype_name);
    CHECK(dtype, "{}: dtype {} is not one of F32 F64 BF16 I32 I64 U8; convert the file", where,
          in_quotes(dtype_name));
    entry.dtype = *dtype;
    try {
      entry.shape = Shape(std::span<const int64_t>(shape_field->get<std::vector<int64_t>>()));
    } catch (const Error& error) {
      detail::fail("{}: {}", where, error.what());
    }
    entry.begin = (*offsets)[0].get<uint64_t>();
    entry.end = (*offsets)[1].get<uint64_t>();
    CHECK(entry.begin <= entry.end, "{}: data_offsets [{}, {}] run backwards", where, entry.begin, entry.end);
    const uint64_t elements = static_cast<uint64_t>(entry.shape.numel()), width = size_of(entry.dtype);
    CHECK(elements == (entry.end - entry.begin) / width && (entry.end - entry.begin) % width == 0,
          "{}: data_offsets [{}, {}] do not hold {} elements of {}, shape {}", where, entry.begin, entry.end,
          elements, dtype_name, entry.shape.str());
    entries_.emplace(name, entry);
    names_.push_back(name);
  }
}

void SafetensorsFile::check_layout(uint64_t data_bytes) {
  std::ranges::sort(names_, [this](const std::string& a, const std::string& b) {
    const Entry &p = entries_.at(a), &q = entries_.at(b);
    return std::tie(p.begin, p.end, a) < std::tie(q.begin, q.end, b);
  });
  uint64_t covered = 0;
  for (const std::string& name : names_) {
    const Entry& e = entries_.at(name);
    CHECK(e.begin >= covered,
          "{}: tensor {}: data_offsets [{}, {}] overlap the tensor before, which ends at {}", path_,
          in_quotes(name), e.begin, e.end, covered);
    CHECK(e.begin == covered, "{}: tensor {}: a hole of {} bytes before its data_offsets [{}, {}]", path_,
          in_quotes(name), e.begin - covered, e.begin, e.end);
    CHECK(e.end <= data_bytes,
          "{}: tensor {}: data_offsets [{}, {}] lie beyond the {} bytes of data: truncated", path_,
          in_quotes(name), e.begin, e.end, data_bytes);
    covered = e.end;
  }
  CHECK(covered == data_bytes, "{}: {} bytes after the last tensor's data", path_, data_bytes - covered);
}

const SafetensorsFile::Entry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  CHECK(found != entries_.end(), "{}: no tensor {} among its {}", path_, in_quotes(name), entries_.size());
  return found->second;
}

Tensor SafetensorsFile::get(const std::string& name) const {
  const Entry& e = entry(name);
  Tensor tensor(e.shape, e.dtype);
  reader_->read_at(data_start_ + e.begin, tensor.raw(), e.end - e.begin, "tensor " + in_quotes(name));
  return tensor;
}

Tensor SafetensorsFile::get(const std::string& name, DType dtype, const Shape& shape) const {
  const Entry& e = entry(name);
  CHECK(e.dtype == dtype && e.shape == shape, "{}: tensor {} is {} {}, expected {} {}", path_,
        in_quotes(name), name_of(e.dtype), e.shape.str(), name_of(dtype), shape.str());
  return get(name);
}

std::string safetensors_header(const std::string& path, const std::vector<TensorInfo>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  std::set<std::string_view> seen;
  nlohmann::ordered_json root = nlohmann::ordered_json::object();
  if (!metadata.empty()) root[kMetadata] = metadata;
  uint64_t end = 0;
  for (const auto& [name, dtype, shape] : tensors) {
    CHECK(!name.empty() && name != kMetadata, "cannot write {}: a tensor cannot be named {}", path,
          in_quotes(name));
    CHECK(seen.insert(name).second, "cannot write {}: tensor {} is given twice", path, in_quotes(name));
    const uint64_t begin = end;
    end += static_cast<uint64_t>(shape.numel()) * size_of(dtype);
    root[name] = {{"dtype", format_name(dtype)},
                  {"shape", std::vector<int64_t>(shape.begin(), shape.end())},
                  {"data_offsets", {begin, end}}};
  }
  std::string header;
  try {
    header = root.dump();
  } catch (const json::exception& error) {
    detail::fail("cannot write {}: a name or a metadata text is not UTF-8: {}", path, error.what());
  }
  header.resize((header.size() + 7) / 8 * 8, ' ');  // so that the data begin aligned
  CHECK(header.size() <= kLongestHeader, "cannot write {}: the header would take {} bytes; {} are allowed",
        path, header.size(), kLongestHeader);
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header;
}

void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  for (const auto& [name, tensor] : tensors)
    CHECK(tensor.defined(), "cannot write {}: tensor {} is undefined", path, in_quotes(name));
  NamedTensors ordered = tensors;
  std::ranges::stable_sort(ordered, std::ranges::greater(),
                           [](const auto& item) { return size_of(item.second.dtype()); });
  std::vector<TensorInfo> infos;
  for (const auto& [name, tensor] : ordered) infos.push_back({name, tensor.dtype(), tensor.shape()});
  const std::string header = safetensors_header(path, infos, metadata);

  AtomicFile file(path);
  file.write(header);
  for (const auto& [name, tensor] : ordered) {
    const Tensor host = tensor.to(Device::cpu());
    file.write(host.raw(), host.nbytes());
  }
  file.commit();
}

}  // namespace tandem
