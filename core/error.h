// Error: the base of all exceptions that Tandem throws. The message says what is wrong, the values, and what to do.
#pragma once
#include <stdexcept>
#include <string>

namespace tandem {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Thrown by an allocator that has no memory left. The message gives the bytes asked for, in use and cached. A program
// may catch it to name its own options that need less memory.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

}  // namespace tandem
