// Archives: any bytes are a gzip, a tar, a zip or a plain file, or an Error; what is unpacked has the size and the
// checksum that are returned, and after an error there is no file.
#include "tandem/data/download/archive.h"

#include <filesystem>

#include "support.h"
#include "tandem/data/download/files.h"
#include "tandem/data/text_file.h"

namespace {
constexpr int64_t kLargest = 1 << 20;  // of the file that is unpacked, in bytes
constexpr int kFiles = 64;             // of an archive that are read
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  using namespace tandem::fuzz;
  const std::string path = file_of(data, size);
  accepts([&] {
    const std::unique_ptr<Archive> archive = Archive::open(path);
    std::string name;
    for (int file = 0; file < kFiles && archive->next(name); ++file) read_through(*archive, "sha256");
  });
  accepts([&] {
    TextFile file(path);
    read_text(file, kLargest);
  });

  const std::string unpacked = scratch_file("unpacked");
  Unpacked result;
  if (accepts([&] { result = unpack(path, "a.txt", unpacked, kLargest, "sha256"); })) {
    require(result.size <= kLargest, "no more than the largest size is unpacked");
    require(static_cast<int64_t>(std::filesystem::file_size(unpacked)) == result.size,
            "the size is that of the file");
    require(file_checksum("sha256", unpacked) == result.checksum, "the checksum is that of the file");
    std::filesystem::remove(unpacked);
  } else {
    require(!std::filesystem::exists(unpacked), "after an error there is no file");
  }
  return 0;
}
