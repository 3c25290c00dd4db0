// Texts of the user: plain, gzip, packed in other ways, through a pipe.
#include "tandem/data/text_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "tests/support/data_files.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  TextFile file(path);
  const std::vector<uint8_t> bytes = read_text(file);
  return {bytes.begin(), bytes.end()};
}

std::string error_with(const fs::path& path) {
  return error_of([&] { text_of(path); });
}

TEST_CASE("text file: plain bytes and gzip") {
  TempDir dir;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1} << 20, size_t{2'000'001}}) {
    const std::string text = noisy_text(size);
    write_text(dir / "plain", text);
    write_gzip(dir / "gzip", text);
    CHECK((text_of(dir / "plain") == text));
    CHECK((text_of(dir / "gzip") == text));
    CHECK(TextFile(dir / "gzip").is_gzip());
    CHECK_FALSE(TextFile(dir / "plain").is_gzip());
  }
  CHECK(contains(error_with(dir / "absent"), "absent: cannot be opened: No such file"));
  CHECK(contains(error_with(dir.path()), "is a folder"));
  CHECK(contains(error_with("/dev/zero"), "/dev/zero: is neither a file nor a pipe"));
}

TEST_CASE("text file: truncated and altered gzip is refused") {
  TempDir dir;
  const std::string text = noisy_text(2'000'000);
  const fs::path path = dir / "file.gz";
  write_gzip(path, text);
  const std::string whole = read_text(path);
  for (const size_t left :
       {whole.size() - 1, whole.size() - 8, whole.size() - 9, whole.size() / 2, size_t{20}}) {
    CAPTURE(left);
    write_text(path, whole.substr(0, left));
    CHECK(contains(error_with(path), "gzip data is truncated or altered"));
  }
  for (const size_t offset : {whole.size() / 3, whole.size() - 6}) {  // in the data, in the CRC
    std::string altered = whole;
    altered[offset] ^= 1;
    write_text(path, altered);
    CHECK(contains(error_with(path), "gzip data is truncated or altered"));
  }
}

TEST_CASE("text file: what is packed otherwise is refused, with the command that unpacks it") {
  TempDir dir;
  const fs::path path = dir / "packed";
  write_zip(path, "text", noisy_text(3000));
  CHECK(contains(error_with(path),
                 "packed: is a zip archive, which is not unpacked here; unpack it (`unzip`)"));
  write_text(path, std::string("\xfd"
                               "7zXZ\0",
                               6) +
                       noisy_text(100));
  CHECK(contains(error_with(path), "packed by xz"));
  write_text(path, "\x28\xb5\x2f\xfd" + noisy_text(100));
  CHECK(contains(error_with(path), "packed by zstd"));
  write_text(path, "BZh91AY&SY" + noisy_text(100));
  CHECK(contains(error_with(path), "packed by bzip2"));
  write_text(path, "7z\xbc\xaf\x27\x1c" + noisy_text(100));
  CHECK(contains(error_with(path), "is a 7z archive"));
  const std::string tar = "name" + std::string(253, '\0') + "ustar" + std::string(1000, '\0');
  write_text(path, tar);
  CHECK(contains(error_with(path), "is a tar archive"));
  write_gzip(path, tar);
  CHECK(contains(error_with(path), "is a tar archive"));
  for (const char* text : {"PK", "BZh9", "(", "ustar"}) {  // their beginnings are text
    write_text(path, text);
    CHECK(text_of(path) == text);
  }
}

TEST_CASE("text file: a pipe is read once, from front to back") {
  TempDir dir;
  const std::string text = noisy_text(3'000'000);
  const fs::path pipe = dir / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  std::thread writer([&] { std::ofstream(pipe, std::ios::binary) << text; });
  CHECK((text_of(pipe) == text));
  writer.join();
}

TEST_CASE("text file: a gzip file that holds more than memory is refused before it fills it") {
  TempDir dir;
  write_gzip(dir / "bomb", std::string(50'000'000, '\0'));
  CHECK(fs::file_size(dir / "bomb") < 100'000);
  TextFile file(dir / "bomb");
  const std::string message = error_of([&] { read_text(file, 20'000'000); });
  CHECK(contains(message, "bomb: holds more than the 20000000 bytes that are held in memory"));
  write_text(dir / "plain", "12345");
  TextFile plain(dir / "plain"), again(dir / "plain");
  CHECK(read_text(plain, 5).size() == 5);
  CHECK(contains(error_of([&] { read_text(again, 4); }), "more than the 4 bytes"));
}

}  // namespace
}  // namespace tandem::testing
