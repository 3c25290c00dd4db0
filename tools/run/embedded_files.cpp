// Finds embedded files by their names.
#include "tandem/tools/run/embedded_files.h"

#include "tandem/core/check.h"

namespace tandem {

std::string_view embedded_file(std::string_view name) {
  for (const EmbeddedFile& file : embedded_files())
    if (file.name == name) return file.text;
  detail::fail("{}: no file of this name is part of the programs", name);
}

}  // namespace tandem
