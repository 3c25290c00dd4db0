// Files of tools/ as they were when the programs were built: an installed program brings them along.
#pragma once
#include <span>
#include <string_view>

namespace tandem {

struct EmbeddedFile {
  std::string_view name;  // its path within tools/, such as "transformers/layers_tandem.py"
  std::string_view text;
};

// Returns all embedded files. Their source is written by tools/embed.cmake.
std::span<const EmbeddedFile> embedded_files();

// Returns the text of one. Error: no file of this name is embedded.
std::string_view embedded_file(std::string_view name);

}  // namespace tandem
