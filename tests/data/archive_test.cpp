// Archives as streams: zip, tar in all formats that tar programs write, single files, truncated and altered archives.
#include "data/download/archive.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <map>
#include <utility>

#include "tests/support/data_files.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

using Files = std::vector<std::pair<std::string, std::string>>;

std::string rest_of(ByteSource& source, size_t block_size) {
  std::vector<uint8_t> block(block_size);
  std::string all;
  while (const size_t count = source.read(block)) all.append(block.begin(), block.begin() + count);
  return all;
}

Files files_in(const fs::path& path, size_t block_size = 1000) {
  const std::unique_ptr<Archive> archive = Archive::open(path);
  Files files;
  for (std::string name; archive->next(name);) files.emplace_back(name, rest_of(*archive, block_size));
  return files;
}

// A folder whose file names are short, exactly 100 bytes long, and longer; some sizes are whole blocks.
struct Folder {
  TempDir dir;
  Files files;

  Folder() {
    const std::string deep = "a-benchmark-of-words/" + std::string(60, 'd') + "/";
    for (const auto& [name, size] : {std::pair{std::string("empty"), 0},
                                     {"sub/block", 512},
                                     {deep + std::string(18, 'f'), 511},
                                     {deep + std::string(60, 'g'), 513},
                                     {deep + std::string(90, 'h'), 100'000}}) {
      files.emplace_back(name, noisy_text(static_cast<size_t>(size)));
      fs::create_directories((dir / name).parent_path());
      write_text(dir / name, files.back().second);
    }
    REQUIRE(files[2].first.size() == 100);
  }
  // Packs the files by the system's tar, in the order of `files`, folders included.
  fs::path pack(const std::string& flags) const {
    const fs::path packed = dir / "packed";
    std::string command = "cd " + dir.path().string() + " && tar " + flags + " -cf packed --no-recursion sub";
    for (const auto& [name, text] : files) command += " " + name;
    REQUIRE(std::system(command.c_str()) == 0);
    return packed;
  }
};

TEST_CASE("archive: tar in every format, gzipped or not") {
  const Folder folder;
  for (const char* flags :
       {"--format=gnu", "--format=ustar", "--format=pax", "--format=gnu -z", "--format=posix -z"}) {
    CAPTURE(flags);
    const fs::path packed = folder.pack(flags);
    Files expected = folder.files;
    if (std::string(flags) == "--format=ustar") {  // this format cannot store the longest name
      CHECK(files_in(packed).size() + 1 >= expected.size());
      continue;
    }
    CHECK(files_in(packed) == expected);
    CHECK(files_in(packed, 7).back() == expected.back());
  }
}

TEST_CASE("archive: files that are not read are passed over") {
  const Folder folder;
  const std::unique_ptr<Archive> archive = Archive::open(folder.pack("-z"));
  std::string name;
  for (size_t i = 0; i < folder.files.size(); ++i) {
    REQUIRE(archive->next(name));
    CHECK(name == folder.files[i].first);
    uint8_t byte = 0;
    if (i == 1) CHECK(archive->read({&byte, 1}) == 1);
  }
  CHECK_FALSE(archive->next(name));
}

TEST_CASE("archive: zip, gzip and plain files") {
  TempDir dir;
  const std::string text = noisy_text(3000);
  write_zip(dir / "zip", {{"folder/", ""}, {"folder/one", "first"}, {"two", text}});
  CHECK(files_in(dir / "zip") == Files{{"folder/", ""}, {"folder/one", "first"}, {"two", text}});
  write_gzip(dir / "gzip", text);
  write_text(dir / "plain", text);
  write_text(dir / "empty", "");
  CHECK(files_in(dir / "gzip") == Files{{"", text}});
  CHECK(files_in(dir / "plain") == Files{{"", text}});
  CHECK(files_in(dir / "empty") == Files{{"", ""}});
  CHECK(contains(error_of([&] { Archive::open(dir / "absent"); }), "absent: cannot be opened: No such file"));
  CHECK(contains(error_of([&] { Archive::open(dir.path()); }), "is a folder"));
}

TEST_CASE("archive: truncated and altered tar archives") {
  const Folder folder;
  const std::string whole = read_text(folder.pack("--format=gnu"));
  const fs::path bad = folder.dir / "bad";
  // Inside the last file, after a header, after the last file.
  for (const size_t left : {whole.find("hhhh") + 2000, size_t{1024}, whole.find_last_not_of('\0') + 1}) {
    CAPTURE(left);
    write_text(bad, whole.substr(0, left));
    CHECK_THROWS_AS(files_in(bad), CorruptArchive);
    CHECK(contains(error_of([&] { files_in(bad); }), "tar archive is truncated or altered"));
  }
  std::string altered = whole;
  altered[124] = 'x';  // the size of the first entry
  write_text(bad, altered);
  CHECK(contains(error_of([&] { files_in(bad); }), "a header without a size"));
}

}  // namespace
}  // namespace tandem::testing
