// Report: what a group of checks found. It belongs to no test framework: a test asks ok(), or calls require(), which throws.
#pragma once
#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace tandem::testing {

class Report {
 public:
  // `subject` names what is checked; every failure begins with it.
  explicit Report(std::string subject) : subject_(std::move(subject)) {}

  // Counts a check. If it failed, notes the message, which says what was expected, with the values. Returns `passed`.
  template <class... Args>
  bool check(bool passed, fmt::format_string<Args...> message, Args&&... args) {
    ++checks_;
    if (!passed) fail(fmt::vformat(message, fmt::make_format_args(args...)));
    return passed;
  }
  // Counts the checks of another report, with its failures and notes.
  void add(const Report& other);
  // Notes something that is no failure, such as a check that was left out.
  void note(const std::string& text) { notes_.push_back(subject_ + ": " + text); }
  // Runs f(*this). An exception that it throws is a failure, so that it does not hide those of other checks.
  template <class F>
  Report& run(const F& f) {
    try {
      f(*this);
    } catch (const std::exception& error) {
      ++checks_;
      fail(std::string("threw: ") + error.what());
    }
    return *this;
  }

  bool ok() const { return failures_.empty(); }
  int64_t checks() const { return checks_; }
  const std::vector<std::string>& failures() const { return failures_; }
  const std::vector<std::string>& notes() const { return notes_; }
  // Returns the number of checks that passed, then the failures and the notes, one a line.
  std::string text() const;
  // Error: a check failed; the message is text().
  void require() const;

 private:
  void fail(const std::string& message) { failures_.push_back(subject_ + ": " + message); }

  std::string subject_;
  int64_t checks_ = 0;
  std::vector<std::string> failures_, notes_;
};

}  // namespace tandem::testing
