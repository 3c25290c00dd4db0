// Safetensors files: named tensors after a JSON header. The reader survives any bytes; the writer is atomic.
//
// The format (huggingface.co/docs/safetensors):
//     8 bytes   the header's length n, a little-endian u64
//     n bytes   JSON: {"__metadata__": {"key": "text"},
//                      "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
//     the rest  the data, which the tensors cover without holes or overlaps; offsets count from its first byte
//
// Files that Tandem writes hold digests of each tensor and of the header, so that any altered bit is found when the part
// that it lies in is read (core/safetensors_format.h says where they lie). Files of other programs have none.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tandem/core/error.h"
#include "tandem/core/tensor.h"

namespace tandem {

// Thrown where a file does not match the digests that it holds. A program may catch it to name its own way to read the
// file all the same.
class DamagedFile : public Error {
 public:
  using Error::Error;
};

// Whether files are checked against the digests that they hold; true at first. Without the check, a file that is known
// to be damaged is read as it is, as far as its header can be parsed. The setting is that of the whole process; a file
// that is open keeps the setting with which it was opened.
bool verify_digests();
void set_verify_digests(bool verify);

// An open file whose whole header has been checked. Tensors are read on request, so a file may be larger than memory.
// Every Error names the file and, if it concerns one, the tensor.
class SafetensorsFile {
 public:
  // Errors: the file is not readable or is truncated; the header does not match its digest, is too long, not JSON, or
  // of another structure; a name occurs twice; a dtype is not one of F32 F64 BF16 I32 I64 U8; data overlap, leave holes, do not fit shape and dtype,
  // or lie outside the file.
  static SafetensorsFile open(const std::string& path);

  const std::string& path() const { return path_; }
  const std::vector<std::string>& names() const { return names_; }  // in the order of their data
  // Without the digests.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool has(const std::string& name) const { return entries_.contains(name); }
  DType dtype(const std::string& name) const { return entry(name).dtype; }         // Error: no such tensor
  const Shape& shape(const std::string& name) const { return entry(name).shape; }  // Error: no such tensor

  // Returns the offset of a tensor's bytes in the file, for mapping it. Error: no such tensor.
  uint64_t offset(const std::string& name) const { return data_start_ + entry(name).begin; }

  bool has_digests() const { return has_digests_; }
  // For readers of a format whose files all have digests. Error: there are none, so that the header has been damaged;
  // not if verification is off.
  void require_digests() const;
  // Compares a tensor's bytes with its digest, for mapping them. Does nothing if there are no digests or verification is
  // off. Error: they differ, or as get().
  void verify(const std::string& name) const;

  // Reads one tensor into host memory. Error: no such tensor, the bytes do not match their digest, or the file has
  // shrunk since it was opened.
  Tensor get(const std::string& name) const;
  // The same. Error also: the tensor does not have this dtype and shape.
  Tensor get(const std::string& name, DType dtype, const Shape& shape) const;

 private:
  class Reader;
  class EntryParser;
  struct Entry {
    DType dtype = DType::f32;
    Shape shape;
    uint64_t begin = 0, end = 0;  // bytes, from the first byte of the data
    std::string digest = {};      // "" if the file has none
  };

  SafetensorsFile() = default;
  const Entry& entry(const std::string& name) const;
  bool verifies() const { return verify_ && has_digests_; }
  bool check_header(const std::string& start) const;
  void parse_header(std::string_view header);
  void check_layout(uint64_t data_bytes);
  void take_digests(bool has_own_digest);
  void check_digest(const std::string& name, const std::string& found) const;

  std::string path_;
  std::shared_ptr<Reader> reader_;
  uint64_t data_start_ = 0;
  std::map<std::string, Entry> entries_;
  std::vector<std::string> names_;
  std::map<std::string, std::string> metadata_;
  bool verify_ = true, has_digests_ = false;
};

// A tensor in a file.
struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::string digest = {};  // of its bytes (core/digest.h); "" for a file without digests
};

// Returns the bytes of a file up to the data. The data follow in the order of `tensors` without holes and begin
// aligned to 8 bytes. For files that are too large to be held in memory as tensors. The length does not depend on what
// the digests are, so a header with digests of 32 zeros can be replaced once the data are written. Errors, which name
// `path`: a name is given twice, is empty or not UTF-8; some tensors have a digest and others none.
std::string safetensors_header(const std::string& path, const std::vector<TensorInfo>& tensors,
                               const std::map<std::string, std::string>& metadata = {});

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

// Replaces `path` as a whole (core/atomic_file.h). Tensors of wider dtypes come first, else in the given order, so that
// each is aligned to its element; the same input gives the same bytes, with digests. Errors: a name is given twice, is empty or not
// UTF-8; a tensor is undefined; anything that AtomicFile refuses, a full disk included. The old file is then unchanged.
void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

using TensorMap = std::map<std::string, Tensor>;

// Writes the tensors by their names, from any device, as write_safetensors() does; load_tensors() reads them all back, from
// this or from any other program's file. Errors: as write_safetensors(), SafetensorsFile::open() and get().
void save_tensors(const std::string& path, const TensorMap& tensors,
                  const std::map<std::string, std::string>& metadata = {});
TensorMap load_tensors(const std::string& path, Device device = Device::cpu());

}  // namespace tandem
