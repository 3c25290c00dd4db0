// What errors say: the message of the one that is thrown, and a look for words in it.
#pragma once
#include <doctest/doctest.h>

#include <string>

#include "core/error.h"

namespace tandem::testing {

// The message of the tandem::Error that f throws, or "no error".
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// Shows the text where the part is not in it, so that a failed CHECK(contains(...)) tells why.
inline bool contains(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("'" << part << "' is not in: " << text);
  return found;
}

}  // namespace tandem::testing
