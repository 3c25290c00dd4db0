// Locks between processes: who holds them, and that any end of a process releases them.
#include "tandem/core/file_lock.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string>
#include <thread>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tandem::testing {

TEST_CASE("file lock: a second one is refused with the name of the holder, until the first ends") {
  const TempDir folder;
  const std::string path = folder / "lock";
  std::string holder;
  {
    const std::optional<FileLock> first = FileLock::try_lock(path, holder);
    REQUIRE(first);
    CHECK(!FileLock::try_lock(path, holder));
    CHECK(contains(holder, "process " + std::to_string(getpid()) + " on "));
    CHECK(contains(holder, " UTC"));
  }
  CHECK(FileLock::try_lock(path, holder));
}

TEST_CASE("file lock: a killed process releases it") {
  const TempDir folder;
  const std::string path = folder / "lock";
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const pid_t child = fork();
  if (child == 0) {
    const FileLock held(path);
    if (write(ready[1], "x", 1) == 1) pause();
    _exit(1);
  }
  char byte = 0;
  REQUIRE(read(ready[0], &byte, 1) == 1);
  std::string holder;
  CHECK(!FileLock::try_lock(path, holder));
  CHECK(contains(holder, "process " + std::to_string(child) + " on "));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  CHECK(FileLock::try_lock(path, holder));
  close(ready[0]);
  close(ready[1]);
}

TEST_CASE("file lock: the waiting one says once for whom it waits") {
  const TempDir folder;
  const std::string path = folder / "lock";
  std::string holder;
  std::optional<FileLock> first = FileLock::try_lock(path, holder);
  std::atomic<int> waits = 0;
  std::thread waiting(
      [&] { const FileLock second(path, [&](const std::string& who) { ++waits, holder = who; }); });
  while (waits == 0) std::this_thread::yield();
  first.reset();
  waiting.join();
  CHECK(waits == 1);
  CHECK(contains(holder, "process "));
}

TEST_CASE("file lock: a file that cannot be made is an error that names it") {
  const TempDir folder;
  CHECK(contains(error_of([&] { FileLock(folder / "missing/lock"); }), "missing/lock: cannot be written"));
}

}  // namespace tandem::testing
