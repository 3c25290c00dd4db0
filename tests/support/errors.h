// Error messages in tests: catches the error and looks for words in its message.
#pragma once
#include <doctest/doctest.h>

#include <string>

#include "tandem/core/error.h"

namespace tandem::testing {

// Returns the message of the tandem::Error that f throws, or "no error".
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// Returns whether `part` is in `text`, and shows the text if not, so that a failed CHECK(contains(...)) explains
// itself.
inline bool contains(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("'" << part << "' is not in: " << text);
  return found;
}

}  // namespace tandem::testing
