// Files that are replaced as a whole or not at all: writers that stop, two writers at once, links.
#include "tandem/core/atomic_file.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tandem::testing {

TEST_CASE("atomic file: the old content stays until commit, and for good without it") {
  const TempDir folder;
  const std::string path = folder / "f";
  write_file_atomically(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
    CHECK(read_text(path) == "old");
  }
  CHECK(read_text(path) == "old");
  CHECK(count(folder) == 1);
  AtomicFile file(path);
  file.write("new ");
  file.write("content");
  file.commit();
  CHECK(read_text(path) == "new content");
  CHECK(count(folder) == 1);
}

TEST_CASE("atomic file: write_at writes at an offset and does not move write()") {
  const TempDir folder;
  AtomicFile file(folder / "f");
  file.write("one ");
  file.write_at(10, "end", 3);
  file.write("two");
  file.write_at(8, "-", 1);
  file.commit();
  CHECK(read_text(folder / "f") == std::string("one two\0-\0end", 13));
}

TEST_CASE("atomic file: a temporary file that a killed writer left is overwritten") {
  const TempDir folder;
  write_text(folder / "f.tmp", "much longer than what comes next");
  write_file_atomically(folder / "f", "short");
  CHECK(read_text(folder / "f") == "short");
  CHECK(count(folder) == 1);
}

TEST_CASE("atomic file: a second writer at the same time is refused, a later one is not") {
  const TempDir folder;
  const std::string path = folder / "f";
  {
    AtomicFile first(path);
    first.write("first");
    const std::string message = error_of([&path] { AtomicFile second(path); });
    CHECK(contains(message, path));
    CHECK(contains(message, "another process is writing"));
    first.commit();
    AtomicFile third(path);  // the first has committed, though it is not destroyed
    third.write("third");
    CHECK(read_text(path) == "first");
    third.commit();
  }
  CHECK(read_text(path) == "third");
  CHECK(count(folder) == 1);
}

TEST_CASE("atomic file: a temporary file that is a link is not followed") {
  const TempDir folder;
  write_text(folder / "precious", "precious");
  std::filesystem::create_symlink(folder / "precious", folder / "f.tmp");
  CHECK_THROWS_AS(write_file_atomically(folder / "f", "x"), Error);
  CHECK(read_text(folder / "precious") == "precious");
}

}  // namespace tandem::testing
