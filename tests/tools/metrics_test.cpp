// The file of a run's metrics: which rows a resumed run keeps, and errors.
#include "tandem/tools/run/metrics.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tandem::testing {

TEST_CASE("metrics: a resumed run keeps the whole rows up to its checkpoint, and none of a stop") {
  const TempDir folder;
  const std::string path = folder / "metrics.jsonl";
  const std::string kept =
      "{\"step\":1,\"loss\":3.0}\n{\"step\":2,\"loss\":2.0}\n{\"step\":2,\"dev_nats\":2.5,\"symbols\":9}\n";
  write_text(
      path,
      kept +
          "{\"step\":2,\"test_nats\":2.6,\"at_stop\":true}\n{\"step\":3,\"loss\":1.0}\n"
          "{\"step\":18446744073709551615,\"loss\":1.0}\n{\"step\":1.5}\nno JSON\n[]\n{\"step\":2,\"lo");
  {
    MetricsLog log(path, 2);
    CHECK(read_text(path) == kept);
    CHECK(log.last_kept_step() == 2);
    CHECK(log.has(2, "dev_nats"));
    CHECK_FALSE(log.has(2, "test_nats"));
    CHECK_FALSE(log.has(1, "dev_nats"));
    log.write({{"step", 3}, {"loss", 1.5}});
    log.sync();
  }
  CHECK(read_text(path) == kept + "{\"step\":3,\"loss\":1.5}\n");
}

TEST_CASE("metrics: rows that are written count at once, and those of a field can be dropped") {
  const TempDir folder;
  const std::string path = folder / "metrics.jsonl";
  MetricsLog log(path, 0);
  log.write({{"step", 1}, {"loss", 2.0}});
  log.write({{"step", 1}, {"dev_nats", 1.5}});
  log.write({{"step", 1}, {"end", "early_stop"}});
  log.write({{"step", 1}, {"test_nats", 1.5}, {"end", "early_stop"}});
  CHECK(log.has(1, "dev_nats"));
  CHECK(log.has(1, "end"));
  log.drop(kEnd);
  CHECK(log.has(1, "dev_nats"));
  CHECK_FALSE(log.has(1, "end"));
  CHECK_FALSE(log.has(1, "test_nats"));
  log.write({{"step", 2}, {"loss", 1.0}});
  CHECK(read_text(path) ==
        "{\"step\":1,\"loss\":2.0}\n{\"step\":1,\"dev_nats\":1.5}\n{\"step\":2,\"loss\":1.0}\n");
}

TEST_CASE("metrics: what is no file, or cannot be written, is an error") {
  const TempDir folder;
  std::filesystem::create_directory(folder / "metrics.jsonl");
  CHECK(contains(error_of([&folder] { MetricsLog(folder / "metrics.jsonl", 5); }), "is not a regular file"));
  CHECK(contains(error_of([&folder] { MetricsLog((folder / "missing/m.jsonl").string(), 5); }),
                 "cannot be written"));
  const pid_t child = fork();  // with a limit on the size of files
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit small{100, 100};
    setrlimit(RLIMIT_FSIZE, &small);
    MetricsLog log(folder / "limited.jsonl", 0);
    const std::string message = error_of([&log] { log.write({{"text", std::string(200, 'x')}}); });
    _exit(contains(message, "limited.jsonl: cannot be written: File too large") ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(status == 0);
}

}  // namespace tandem::testing
