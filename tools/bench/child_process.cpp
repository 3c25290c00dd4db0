// Processes by fork and exec.
#include "tools/bench/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <iostream>

#include "tandem/core/check.h"

namespace tandem {
namespace {

std::string exit_text(int status) {
  return WIFSIGNALED(status) ? fmt::format("ended by signal {}", WTERMSIG(status))
                             : fmt::format("ended with exit code {}", WEXITSTATUS(status));
}

// Returns the last bytes of a file, for messages.
std::string tail_of(int file) {
  constexpr off_t kMost = 4000;
  const off_t size = ::lseek(file, 0, SEEK_END);
  std::string text(static_cast<size_t>(std::clamp<off_t>(size, 0, kMost)), '\0');
  const ssize_t got = ::pread(file, text.data(), text.size(), std::max<off_t>(size - kMost, 0));
  text.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
  return text;
}

}  // namespace

TemporaryFolder::TemporaryFolder(const std::string& name) {
  std::string path = (std::filesystem::temp_directory_path() / (name + "-XXXXXX")).string();
  TANDEM_CHECK(::mkdtemp(path.data()) != nullptr, "{}: {}", path, std::strerror(errno));
  path_ = path;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

ChildRun run_child(const std::vector<std::string>& command) {
  const TemporaryFolder folder("tandem-child");
  const int errors = ::open(folder.file("stderr").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  std::array<int, 2> pipe{};
  TANDEM_CHECK(errors >= 0 && ::pipe2(pipe.data(), O_CLOEXEC) == 0, "{}: {}", command[0],
               std::strerror(errno));
  std::vector<char*> argv;
  for (const std::string& argument : command) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const auto start = std::chrono::steady_clock::now();
  const pid_t child = ::fork();
  TANDEM_CHECK(child >= 0, "fork: {}", std::strerror(errno));
  if (child == 0) {
    ::dup2(pipe[1], STDOUT_FILENO);
    ::dup2(errors, STDERR_FILENO);
    ::execvp(argv[0], argv.data());
    ::dprintf(STDERR_FILENO, "%s: %s\n", argv[0], std::strerror(errno));
    ::_exit(127);
  }
  ::close(pipe[1]);
  ChildRun run;
  std::string rest;
  std::array<char, 65536> buffer{};
  for (ssize_t got = 0; (got = ::read(pipe[0], buffer.data(), buffer.size())) != 0;) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) break;
    rest.append(buffer.data(), static_cast<size_t>(got));
    for (size_t end = 0; (end = rest.find('\n')) != std::string::npos; rest.erase(0, end + 1)) {
      if (run.lines.empty())
        run.first_line_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      run.lines.push_back(rest.substr(0, end));
    }
  }
  ::close(pipe[0]);
  int status = 0;
  rusage usage{};
  while (::wait4(child, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  const std::string said = tail_of(errors);
  ::close(errors);
  TANDEM_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "{}: {}\n{}", fmt::join(command, " "),
               exit_text(status), said);
  run.peak_bytes = int64_t{usage.ru_maxrss} * 1024;
  return run;
}

void run_in_child(const std::string& what, const std::function<void()>& work) {
  std::cout.flush();
  const pid_t child = ::fork();
  TANDEM_CHECK(child >= 0, "fork: {}", std::strerror(errno));
  if (child == 0) {
    try {
      work();
      ::_exit(0);
    } catch (const std::exception& error) {
      std::cerr << error.what() << std::endl;
      ::_exit(1);
    }
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  TANDEM_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "{}: {}", what, exit_text(status));
}

}  // namespace tandem
