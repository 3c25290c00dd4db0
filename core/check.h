// CHECK: how every part of Tandem refuses bad input. For .cpp files only: it brings in fmt, which nvcc cannot
// compile, and its name is also a macro of the test framework, so no public header includes this file.
#pragma once
#include <fmt/core.h>  // the quick part of fmt; who joins lists includes fmt/format.h

#include "core/error.h"

namespace tandem::detail {
[[noreturn]] void throw_error(fmt::string_view format, fmt::format_args args);

// Out of line of the condition, so that a passing check costs one compare.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw_error(format, fmt::make_format_args(args...));
}
}  // namespace tandem::detail

// CHECK(condition, "what is wrong, with {} values; what to do", values...): throws tandem::Error when false.
#define CHECK(condition, ...)              \
  do {                                     \
    if (!(condition)) [[unlikely]]         \
      ::tandem::detail::fail(__VA_ARGS__); \
  } while (0)
