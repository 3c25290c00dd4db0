// Helpers of the mutators of all formats: random choices, changes of bytes and of JSON values, seeds to begin again with.
#pragma once
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

// libFuzzer's own mutations of bytes.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace tandem::fuzz {

using Json = nlohmann::ordered_json;
using Random = std::minstd_rand;

size_t below(Random& random, size_t count);  // 0 .. count - 1
std::string dumped(const Json& json);        // with replacements for what is not UTF-8

// Changes the bytes of a text, which grows by up to `room`.
std::string mutated_bytes(std::string text, size_t room);
// Changes one value of a tree, also inside texts that hold JSON themselves.
void mutate_value(Json& root, Random& random);
// Changes one value of a text, or its bytes where it is not JSON, and sometimes where it is.
std::string mutated_json(const std::string& text, Random& random);

// Returns the input, or now and then a file of seeds/`harness` in its place.
std::string input_or_seed(const uint8_t* data, size_t size, const char* harness, Random& random);
// Puts the text into the buffer and returns its size. One that is too long is dropped for a mutation of bytes.
size_t returned(const std::string& text, uint8_t* data, size_t size, size_t max_size);

}  // namespace tandem::fuzz
