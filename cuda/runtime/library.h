// Libraries of the CUDA toolkit that are loaded when they are first needed: a program that runs on the CPU neither loads nor
// holds them, and starts where they are missing. What is loaded is a table of functions by their names in the header.
#pragma once
#include <initializer_list>
#include <string>

namespace tandem::cuda {

// Loads the first of these files that is there. Error: none is, with what the system says of each. `what` names the library,
// "cuBLASLt" for instance.
void* load_library(const std::string& what, std::initializer_list<const char*> files);

// Returns the address of a function. Error: the library has none of this name.
void* find_function(void* library, const std::string& what, const char* name);

}  // namespace tandem::cuda
