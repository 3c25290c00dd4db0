// Safetensors files written by hand, and what is said of bad ones.
#pragma once
#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>
#include <string>

#include "tests/support/errors.h"

namespace tandem::testing {

inline std::string little_endian(uint64_t value) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (8 * i));
  return bytes;
}

// The file of this header and this many bytes of data: 0, 1, 2, ...
inline std::string file_of(const std::string& header, size_t data_bytes) {
  std::string bytes = little_endian(header.size()) + header;
  for (size_t i = 0; i < data_bytes; ++i) bytes += static_cast<char>(i);
  return bytes;
}

inline void check_message(const std::string& message, std::initializer_list<std::string> parts) {
  for (const std::string& part : parts) CHECK(contains(message, part));
}

}  // namespace tandem::testing
