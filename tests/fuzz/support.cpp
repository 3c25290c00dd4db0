// Scratch files, and the end of a process that found something.
#include "support.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace tandem::fuzz {
namespace {

namespace fs = std::filesystem;

// Exists for as long as the process. A process that a signal ends leaves it to whoever chose $TMPDIR.
class ScratchFolder {
 public:
  ScratchFolder() : path_(fs::temp_directory_path() / ("tandem-fuzz-" + std::to_string(getpid()))) {
    fs::create_directories(path_);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

std::string scratch_file(const std::string& name) {
  static const ScratchFolder folder;
  return (folder.path() / name).string();
}

std::string file_of(const uint8_t* data, size_t size) {
  const std::string path = scratch_file("input");
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  require(file != nullptr, "a scratch file can be created");
  const bool written = std::fwrite(data, 1, size, file) == size;
  require(std::fclose(file) == 0 && written, "a scratch file can be written");
  return path;
}

void require(bool holds, std::string_view property) {
  if (holds) return;
  std::fprintf(stderr, "finding: this does not hold: %.*s\n", static_cast<int>(property.size()),
               property.data());
  std::abort();
}

bool same_tensors(std::vector<NamedTensor> a, std::vector<NamedTensor> b) {
  const auto by_name = [](const NamedTensor& x, const NamedTensor& y) { return x.name < y.name; };
  std::sort(a.begin(), a.end(), by_name);
  std::sort(b.begin(), b.end(), by_name);
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const NamedTensor& x, const NamedTensor& y) {
    return x.name == y.name && x.value.dtype() == y.value.dtype() && x.value.shape() == y.value.shape() &&
           (x.value.numel() == 0 || std::memcmp(x.value.raw(), y.value.raw(), x.value.nbytes()) == 0);
  });
}

}  // namespace tandem::fuzz
