// Other programs, run and watched, and what they leave behind.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace tandem {

// A new folder in the system's place for such, removed with all it holds. Error: it cannot be made.
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

// A process that has ended well.
struct ChildRun {
  std::vector<std::string> lines;  // of its stdout
  double first_line_s = 0;         // from just before its start to its first line; 0 without one
  int64_t peak_bytes = 0;          // the most that was resident, as the system counted
};

// Runs a command, found on the PATH, and waits for it. Error: it cannot be started, or ends with another exit
// code than 0; with the end of what it wrote to stderr.
ChildRun run_child(const std::vector<std::string>& command);

// Runs `work` in a copy of this process, whose memory is gone afterwards. Error: it threw, which the child
// says on stderr, or its process ended otherwise; the message starts with `what`.
void run_in_child(const std::string& what, const std::function<void()>& work);

}  // namespace tandem
