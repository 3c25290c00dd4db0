// Libraries that are loaded when they are first needed: a program that runs on the CPU neither loads nor holds them, and
// starts where they are missing. Each has a table of the functions that Tandem calls, under their own names.
#pragma once
#include <initializer_list>
#include <string>

namespace tandem::cuda {

// Loads the first of these files that is there. Error: none is, with what the system says of each. `what` names the library,
// "cuBLASLt" for instance. Names without a folder are looked for in the folders of TANDEM_LIBRARY_PATH first, which are
// separated by colons, and then where the system looks: PyTorch's wheels bring cuDNN in folders that no system knows.
void* load_library(const std::string& what, std::initializer_list<const char*> files);

// Returns the address of a function. Error: the library has none of this name.
void* find_function(void* library, const std::string& what, const char* name);
template <class Function>
void find_function(Function& function, void* library, const std::string& what, const char* name) {
  function = reinterpret_cast<Function>(find_function(library, what, name));
}

}  // namespace tandem::cuda

// The value of a macro as a text, for the versions in the names of files.
#define TANDEM_TEXT_OF(x) #x
#define TANDEM_TEXT(x) TANDEM_TEXT_OF(x)
