// Adding reports, and their text.
#include "tandem/testing/report.h"

#include "tandem/core/check.h"

namespace tandem::testing {

void Report::add(const Report& other) {
  checks_ += other.checks_;
  failures_.insert(failures_.end(), other.failures_.begin(), other.failures_.end());
  notes_.insert(notes_.end(), other.notes_.begin(), other.notes_.end());
}

std::string Report::text() const {
  const auto failed = static_cast<int64_t>(failures_.size());
  std::string text = fmt::format("{}: {} of {} checks passed", subject_, checks_ - failed, checks_);
  for (const std::string& failure : failures_) text += "\nFAILED " + failure;
  for (const std::string& note : notes_) text += "\nnote: " + note;
  return text;
}

void Report::require() const {
  TANDEM_CHECK(ok(), "{}", text());
}

}  // namespace tandem::testing
