// The one exception type that Tandem throws: its message says what is wrong, the values, and what to do.
#pragma once
#include <stdexcept>
#include <string>

namespace tandem {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Thrown by the caching allocator when memory is used up: bytes asked for, in use, cached, and advice.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

}  // namespace tandem
