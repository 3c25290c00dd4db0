// Reading, checksums, unpacking of whole, truncated and altered archives, and renaming into place.
#include "tandem/data/download/files.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "tests/support/data_files.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

std::string text_of(const std::vector<uint8_t>& bytes) {
  return {bytes.begin(), bytes.end()};
}

void cut(const fs::path& path, size_t size) {
  write_text(path, read_text(path).substr(0, size));
}

void flip_byte(const fs::path& path, size_t offset) {
  std::string text = read_text(path);
  text[offset] ^= 1;
  write_text(path, text);
}

TEST_CASE("byte file: read_file takes any bytes") {
  TempDir dir;
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{1} << 20, (size_t{1} << 20) + 1, size_t{3'000'000}}) {
    const std::string text = noisy_text(size);
    write_text(dir / "file", text);
    CHECK(text_of(read_file(dir / "file")) == text);
  }
  CHECK(contains(error_of([&] { read_file(dir / "absent"); }), "absent: cannot be opened: No such file"));
  CHECK(contains(error_of([&] { read_file(dir.path()); }), "is a folder"));
}

TEST_CASE("byte file: checksums are those of the standards") {
  CHECK(checksum("md5", as_bytes("abc")) == "900150983cd24fb0d6963f7d28e17f72");
  CHECK(checksum("sha1", as_bytes("abc")) == "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK(checksum("sha256", as_bytes("abc")) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(checksum("sha256", {}) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(contains(error_of([] { checksum("sha257", {}); }), "sha257"));
  TempDir dir;
  const std::string text = noisy_text(2'500'000);
  write_text(dir / "file", text);
  CHECK(file_checksum("sha1", dir / "file") == checksum("sha1", as_bytes(text)));
}

TEST_CASE("byte file: a digest of pieces is that of the whole") {
  RunningChecksum digest("sha256");
  digest.update(as_bytes("a"));
  digest.update({});
  digest.update(as_bytes("bc"));
  CHECK(digest.hex() == checksum("sha256", as_bytes("abc")));
}

TEST_CASE("byte file: no symbolic link and no pipe is written through") {
  TempDir dir;
  write_text(dir / "target", "the user's");
  fs::create_symlink(dir / "target", dir / "link");
  fs::create_symlink(dir / "absent", dir / "dangling");
  REQUIRE(mkfifo((dir / "pipe").c_str(), 0600) == 0);
  for (const bool append : {false, true}) {
    CHECK(contains(error_of([&] { open_to_write(dir / "link", append); }),
                   "link: cannot be written: it is a symbolic"));
    CHECK(contains(error_of([&] { open_to_write(dir / "dangling", append); }), "remove it"));
    CHECK(contains(error_of([&] { open_to_write(dir / "pipe", append); }), "pipe: cannot be written"));
  }
  // A leftover of unpack() is replaced, and what a link points to stays.
  write_text(dir / "plain", "new");
  unpack(dir / "plain", "", dir / "link", 100, "md5");
  CHECK(read_text(dir / "link") == "new");
  CHECK_FALSE(fs::is_symlink(dir / "link"));
  CHECK(read_text(dir / "target") == "the user's");
  CHECK_FALSE(fs::exists(dir / "absent"));
  CHECK(contains(error_of([&] { commit_file(dir / "dangling", dir / "new"); }), "cannot be opened to sync"));
}

TEST_CASE("byte file: unpack tells zip, gzip and plain files apart by their content") {
  TempDir dir;
  const std::string text = noisy_text(1'500'000);
  const int64_t size = static_cast<int64_t>(text.size());
  write_zip(dir / "zip", "corpus", text);
  write_zip(dir / "zip in folder", "some/folder/corpus", text);
  write_gzip(dir / "gzip", text);
  write_text(dir / "plain", text);
  for (const char* name : {"zip", "zip in folder", "gzip", "plain"}) {
    CAPTURE(name);
    int64_t last = 0;
    const Unpacked unpacked =
        unpack(dir / name, "corpus", dir / "out", size, "sha256", [&](int64_t done, int64_t total) {
          CHECK(done > last);
          CHECK(total == size);
          last = done;
        });
    CHECK(last == size);
    CHECK(unpacked.size == size);
    CHECK(unpacked.checksum == checksum("sha256", as_bytes(text)));
    CHECK(read_text(dir / "out") == text);
    fs::remove(dir / "out");

    CHECK(contains(error_of([&] { unpack(dir / name, "corpus", dir / "out", size - 1, "md5"); }),
                   "more than the 1499999 bytes"));
    CHECK_FALSE(fs::exists(dir / "out"));
  }
}

TEST_CASE("byte file: unpack refuses broken archives and leaves nothing behind") {
  TempDir dir;
  const std::string text = noisy_text(300'000);
  const auto fails = [&](const fs::path& path) {
    const std::string message =
        error_of([&] { unpack(path, "corpus", dir / "out", static_cast<int64_t>(text.size()), "sha256"); });
    CHECK_FALSE(fs::exists(dir / "out"));
    CHECK_THROWS_AS(unpack(path, "corpus", dir / "out", 1 << 20, "sha256"), CorruptArchive);
    return message;
  };
  const fs::path zip = dir / "a.zip";
  write_zip(zip, "corpus", text);
  const size_t size = fs::file_size(zip);
  for (const size_t left : {size - 1, size / 2, size_t{40}, size_t{4}}) {
    CAPTURE(left);
    write_zip(zip, "corpus", text);
    cut(zip, left);
    CHECK(contains(fails(zip), "zip archive is truncated or altered"));
  }
  write_zip(zip, "corpus", text);
  flip_byte(zip, size / 2);
  CHECK(contains(fails(zip), "zip archive is truncated or altered"));
  write_zip(zip, "other", text);
  CHECK(contains(fails(zip), "holds no file named 'corpus'"));
  write_gzip(dir / "a.gz", text);
  cut(dir / "a.gz", 1000);
  CHECK(contains(fails(dir / "a.gz"), "gzip data is truncated or altered"));

  write_text(dir / "plain", text);
  CHECK(contains(error_of([&] { unpack(dir / "plain", "corpus", dir / "no/such/folder", 1 << 20, "md5"); }),
                 "cannot be written"));
  struct Cancelled {};
  CHECK_THROWS_AS(unpack(dir / "plain", "corpus", dir / "out", 1 << 20, "md5",
                         [](int64_t, int64_t) { throw Cancelled(); }),
                  Cancelled);
  CHECK_FALSE(fs::exists(dir / "out"));
}

TEST_CASE("byte file: commit_file replaces the old file") {
  TempDir dir;
  write_text(dir / "old", "old");
  write_text(dir / "new", "new");
  commit_file(dir / "new", dir / "old");
  CHECK(read_text(dir / "old") == "new");
  CHECK_FALSE(fs::exists(dir / "new"));
  CHECK(contains(error_of([&] { commit_file(dir / "new", dir / "old"); }), "No such file"));
  write_text(dir / "new", "newer");
  CHECK(contains(error_of([&] { commit_file(dir / "new", dir / "no/folder"); }), "cannot be renamed"));
}

}  // namespace
}  // namespace tandem::testing
