// The locks of the data folder. (Where the folder is: download_cache_test.cpp.)
#include "tandem/data/download/data_dir.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

TEST_CASE("data folder: who waits for a lock is told for whom") {
  TempDir dir;
  std::optional<FileLock> first(lock_data_file(dir.path(), "file", {}));
  std::string waited;
  std::atomic<bool> waiting = false;
  std::thread second([&] {
    lock_data_file(dir.path(), "file", [&](std::string_view what, int64_t done, int64_t total) {
      waited = what;
      if (done == 0 && total == 0) waiting = true;
    });
  });
  while (!waiting) std::this_thread::yield();
  first.reset();
  second.join();
  CHECK(contains(waited, "waiting for process " + std::to_string(getpid())));
}

TEST_CASE("data folder: a lock that cannot be created names TANDEM_DATA") {
  TempDir dir;
  const std::string message = error_of([&] { lock_data_file(dir / "absent", "file", {}); });
  CHECK(contains(message, ".file.lock: cannot be written"));
  CHECK(contains(message, "set TANDEM_DATA to a folder that can"));
  CHECK_NOTHROW(lock_data_file(dir.path(), std::string(kLongestDataName, 'n'), {}));
  CHECK(contains(error_of([&] { lock_data_file(dir.path(), std::string(kLongestDataName + 1, 'n'), {}); }),
                 "too long"));
}

}  // namespace
}  // namespace tandem::testing
