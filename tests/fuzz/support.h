// Helpers of the fuzzing harnesses: a file that holds the input, the test for a refusal, and the report of a finding.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tandem/core/error.h"
#include "tandem/models/named_tensor.h"

// libFuzzer calls it with each input. Any signal, report of a sanitizer or exception that leaves it is a finding.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace tandem::fuzz {

// Returns the path of a file of this name in a folder of this process, which is removed at its end. $TMPDIR says where;
// tests/fuzz/run names a folder in memory.
std::string scratch_file(const std::string& name);

// Writes the input to a scratch file and returns its path.
std::string file_of(const uint8_t* data, size_t size);

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Runs a reader. Returns false if it refused its input by an Error; lets every other exception through.
template <class Read>
bool accepts(Read&& read) {
  try {
    read();
    return true;
  } catch (const Error&) {
    return false;
  }
}

// Ends the process, which is a finding, if a property does not hold. `property` says what should hold.
void require(bool holds, std::string_view property);

// Returns whether the tensors have the same names, dtypes, shapes and bytes, in whatever order.
bool same_tensors(std::vector<NamedTensor> a, std::vector<NamedTensor> b);

}  // namespace tandem::fuzz
