// The Python files of an exported model, tools/transformers/*.py as they were when the program was built: a program that
// is installed brings them along.
#pragma once
#include <span>
#include <string_view>

namespace tandem {

struct ModellingFile {
  const char* name;
  std::string_view text;
};

// Returns the files in the order of their names. Their source is written by tools/transformers/embed.cmake.
std::span<const ModellingFile> modelling_files();

}  // namespace tandem
