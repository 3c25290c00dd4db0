// Loading of shared libraries.
#include "tandem/cuda/runtime/library.h"

#include <dlfcn.h>

#include "tandem/core/check.h"

namespace tandem::cuda {

void* load_library(const std::string& what, std::initializer_list<const char*> files) {
  std::string problems;
  for (const char* file : files) {
    if (void* const library = dlopen(file, RTLD_NOW | RTLD_LOCAL)) return library;
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
