// Archives and texts for the tests of data/.
#pragma once
#include <doctest/doctest.h>
#include <zip.h>
#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/files.h"

namespace tandem::testing {

// Names and contents of entries; a name that ends with / makes a folder.
using ZipEntries = std::vector<std::pair<std::string, std::string>>;

inline void write_zip(const std::filesystem::path& path, const ZipEntries& entries) {
  int code = 0;
  zip_t* archive = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code);
  REQUIRE(archive != nullptr);
  for (const auto& [name, text] : entries) {
    if (name.ends_with('/')) {
      REQUIRE(zip_dir_add(archive, name.c_str(), 0) >= 0);
      continue;
    }
    zip_source_t* source = zip_source_buffer(archive, text.data(), text.size(), 0);
    REQUIRE(zip_file_add(archive, name.c_str(), source, ZIP_FL_OVERWRITE) >= 0);
  }
  REQUIRE(zip_close(archive) == 0);
}

inline void write_zip(const std::filesystem::path& path, const std::string& entry, const std::string& text) {
  write_zip(path, {{entry, text}});
}

inline void write_gzip(const std::filesystem::path& path, const std::string& text) {
  gzFile file = gzopen(path.c_str(), "wb");
  REQUIRE(gzwrite(file, text.data(), static_cast<unsigned>(text.size())) == static_cast<int>(text.size()));
  REQUIRE(gzclose(file) == Z_OK);
}

inline std::span<const uint8_t> as_bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Returns text that compresses badly, so that a truncated archive ends inside its data.
inline std::string noisy_text(size_t size, uint32_t seed = 1) {
  std::string text(size, ' ');
  for (char& c : text) {
    seed = seed * 1664525u + 1013904223u;
    c = static_cast<char>(' ' + (seed >> 24) % 90);
  }
  return text;
}

}  // namespace tandem::testing
