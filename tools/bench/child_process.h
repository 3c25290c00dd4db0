// Runs other programs and measures them.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace tandem {

// A new folder for temporary files, which the destructor removes with its contents. Error: it cannot be
// created.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& name);
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string file(const char* name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// The result of a process that ended with exit code 0.
struct ChildRun {
  std::vector<std::string> lines;  // what it wrote to stdout
  double first_line_s = 0;         // seconds from its start to its first line; 0 if it wrote none
  int64_t peak_bytes = 0;          // its peak resident memory, as the system counts it
};

// Runs a command, found on the PATH, and waits for it. Error: it cannot be started, or ends with another exit
// code than 0; the message has the end of what it wrote to stderr.
ChildRun run_child(const std::vector<std::string>& command);

// Runs `work` in a forked process, so that its memory is returned to the system. Error: it throws (the child
// prints what, on stderr), or the process ends otherwise; the message starts with `what`.
void run_in_child(const std::string& what, const std::function<void()>& work);

}  // namespace tandem
