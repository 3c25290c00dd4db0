// TANDEM_CHECK: every part of Tandem refuses bad input with it. For .cpp files only: it includes fmt, which nvcc cannot
// compile, and its name is also a macro of the test framework, so no public header includes this file.
#pragma once
#include <fmt/core.h>  // compiles quickly; include fmt/format.h where lists are joined

#include "tandem/core/error.h"

namespace tandem::detail {
[[noreturn]] void throw_error(fmt::string_view format, fmt::format_args args);

// Throws an Error with this message. A separate function, so that a check that passes costs one comparison.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw_error(format, fmt::make_format_args(args...));
}
}  // namespace tandem::detail

// TANDEM_CHECK(condition, "what is wrong, with {} values; what to do", values...) throws tandem::Error if the condition is
// false.
#define TANDEM_CHECK(condition, ...)       \
  do {                                     \
    if (!(condition)) [[unlikely]]         \
      ::tandem::detail::fail(__VA_ARGS__); \
  } while (0)
