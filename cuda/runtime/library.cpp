// Loading of shared libraries.
#include "tandem/cuda/runtime/library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <vector>

#include "tandem/core/check.h"

namespace tandem::cuda {
namespace {

// Returns the paths to try for a file: in the folders of TANDEM_LIBRARY_PATH where it lies there, then the file itself.
std::vector<std::string> candidates(const std::string& file) {
  std::vector<std::string> paths;
  const char* const folders = std::getenv("TANDEM_LIBRARY_PATH");
  if (folders && file.find('/') == std::string::npos) {
    std::istringstream list(folders);
    for (std::string folder; std::getline(list, folder, ':');) {
      const std::string path = folder + "/" + file;
      std::error_code ignored;
      if (!folder.empty() && std::filesystem::exists(path, ignored)) paths.push_back(path);
    }
  }
  paths.push_back(file);
  return paths;
}

}  // namespace

void* load_library(const std::string& what, std::initializer_list<const char*> files) {
  std::string problems;
  for (const char* file : files)
    for (const std::string& path : candidates(file)) {
      if (void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
      problems += (problems.empty() ? "" : "; ") + std::string(dlerror());
    }
  detail::fail("{} cannot be loaded: {}", what, problems);
}

void* find_function(void* library, const std::string& what, const char* name) {
  void* const function = dlsym(library, name);
  TANDEM_CHECK(function, "{} has no function {}; it is older than Tandem needs", what, name);
  return function;
}

}  // namespace tandem::cuda
