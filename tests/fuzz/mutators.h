// Mutators that know a format, so that most inputs get past the first check of a reader. libFuzzer calls a harness's
// LLVMFuzzerCustomMutator(), which calls one of these.
#pragma once
#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace tandem::fuzz {

// Returns a text as JSON. It is a discarded value if it is not JSON, or nested deeper than a harness itself can walk.
nlohmann::ordered_json parse_shallow(const std::string& text);

// These change `data`, of `size` bytes in a buffer of `max_size`, and return the new size. Now and then they begin again
// with a file of seeds/`harness`: most inputs that reach new code do so by an error, and what is made from them is
// refused for the same error.

// JSON: changes, removes, copies or nests one value, also inside texts that hold JSON themselves.
size_t mutate_json(uint8_t* data, size_t size, size_t max_size, unsigned int seed, const char* harness);

// Lines of JSON: changes one of them.
size_t mutate_json_lines(uint8_t* data, size_t size, size_t max_size, unsigned int seed, const char* harness);

// Command lines, an argument a line: removes, repeats, moves or changes an argument, or inserts one of `flags` (--name) with
// one of `values` or a number at the edge of a type.
size_t mutate_arguments(uint8_t* data, size_t size, size_t max_size, unsigned int seed, const char* harness,
                        const std::vector<std::string>& flags, const std::vector<std::string>& values);

// Safetensors: changes the data, or the header as bytes or as JSON. The header's length stays true, and often the
// offsets and the size of the data are made to fit the shapes again. Digests of the file are mostly dropped, as they
// would refuse every change.
size_t mutate_safetensors(uint8_t* data, size_t size, size_t max_size, unsigned int seed,
                          const char* harness);

}  // namespace tandem::fuzz
