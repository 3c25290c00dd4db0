// Mutators that know a format, so that most inputs get past the first check of a reader. libFuzzer calls a harness's
// LLVMFuzzerCustomMutator(), which calls one of these.
#pragma once
#include <cstddef>
#include <cstdint>

namespace tandem::fuzz {

// Changes `data`, of `size` bytes in a buffer of `max_size`, and returns the new size.

// JSON: changes, removes, copies or nests one value, also inside texts that hold JSON themselves.
size_t mutate_json(uint8_t* data, size_t size, size_t max_size, unsigned int seed);

// Lines of JSON: changes one of them.
size_t mutate_json_lines(uint8_t* data, size_t size, size_t max_size, unsigned int seed);

// Safetensors: changes the data, or the header as bytes or as JSON. The header's length stays true, and often the
// offsets and the size of the data are made to fit the shapes again. Digests of the file are dropped, which would
// otherwise refuse every change.
size_t mutate_safetensors(uint8_t* data, size_t size, size_t max_size, unsigned int seed);

}  // namespace tandem::fuzz
