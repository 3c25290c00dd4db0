// Mutations of JSON values, and of the parts of a safetensors file.
#include "mutators.h"

#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace tandem::fuzz {
namespace {

using Json = nlohmann::ordered_json;
using Random = std::minstd_rand;

constexpr size_t kLargestTensor = 4096;  // in bytes: data are not made larger to fit a shape

size_t below(Random& random, size_t count) {
  return std::uniform_int_distribution<size_t>(0, count - 1)(random);
}

std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string mutated_bytes(std::string text, size_t room) {
  const size_t size = text.size();
  text.resize(size + room);
  text.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(text.data()), size, text.size()));
  return text;
}

Json interesting_value(Random& random) {
  static const std::vector<Json> values = {nullptr,
                                           true,
                                           false,
                                           0,
                                           1,
                                           -1,
                                           2,
                                           3,
                                           7,
                                           8,
                                           9,
                                           31,
                                           32,
                                           64,
                                           255,
                                           256,
                                           65536,
                                           0.5,
                                           -0.0,
                                           1e-300,
                                           1e300,
                                           std::numeric_limits<int32_t>::max(),
                                           std::numeric_limits<int32_t>::min(),
                                           int64_t{1} << 32,
                                           int64_t{1} << 61,
                                           std::numeric_limits<int64_t>::max(),
                                           std::numeric_limits<int64_t>::min(),
                                           std::numeric_limits<uint64_t>::max(),
                                           "",
                                           "x",
                                           "\x1b[2J",
                                           "ä",
                                           Json::array(),
                                           Json::object(),
                                           Json::array({0, 0}),
                                           Json::array({1, -1})};
  return values[below(random, values.size())];
}

void collect(Json& json, std::vector<Json*>& into) {
  into.push_back(&json);
  if (json.is_structured())
    for (Json& item : json) collect(item, into);
}

void mutate_value(Json& root, Random& random);

void mutate_text(Json& value, Random& random) {
  Json inside = Json::parse(value.get<std::string>(), nullptr, false);
  if (inside.is_structured() && below(random, 8) != 0) {
    mutate_value(inside, random);
    value = dumped(inside);
  } else {
    value = mutated_bytes(value.get<std::string>(), 16);
  }
}

void mutate_number(Json& value, Random& random) {
  if (value.is_number_float()) {
    value = value.get<double>() * (below(random, 2) == 0 ? -1 : 1e10);
    return;
  }
  const auto number = value.get<uint64_t>();  // wraps around, as int64_t must not
  const uint64_t changed[] = {number + 1, number - 1, 0 - number, number * 2, number << 8, number << 32};
  value = static_cast<int64_t>(changed[below(random, std::size(changed))]);
}

void remove_child(Json& value, Random& random) {
  if (value.empty()) return;
  const auto at = static_cast<std::ptrdiff_t>(below(random, value.size()));
  value.erase(std::next(value.begin(), at));
}

void add_child(Json& value, const Json& child, Random& random) {
  if (value.is_array())
    value.push_back(child);
  else if (value.empty() || below(random, 4) == 0)
    value["new"] = child;
  else  // beside another key, of a similar name
    value[std::next(value.begin(), static_cast<std::ptrdiff_t>(below(random, value.size()))).key() + "."] =
        child;
}

// Changes one value of the tree.
void mutate_value(Json& root, Random& random) {
  std::vector<Json*> all;
  collect(root, all);
  Json& value = *all[below(random, all.size())];
  const Json other = *all[below(random, all.size())];
  const size_t kind = below(random, 6);
  if (kind == 0)
    value = interesting_value(random);
  else if (kind == 1)
    value = other;
  else if (kind == 2)
    value = Json::array({value});
  else if (value.is_string())
    mutate_text(value, random);
  else if (value.is_number())
    mutate_number(value, random);
  else if (value.is_structured() && kind == 3)
    remove_child(value, random);
  else if (value.is_structured())
    add_child(value, other, random);
  else
    value = interesting_value(random);
}

// Returns the text with one value changed, or with its bytes changed where it is not JSON, and sometimes where it is.
std::string mutated_json(const std::string& text, Random& random) {
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded() || below(random, 8) == 0) return mutated_bytes(text, 64);
  mutate_value(json, random);
  return dumped(json);
}

size_t returned(const std::string& text, uint8_t* data, size_t size, size_t max_size) {
  if (text.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, text.data(), text.size());
  return text.size();
}

// A safetensors file, taken apart.
struct Parts {
  std::string header, data;
};

bool take_apart(const uint8_t* data, size_t size, Parts& parts) {
  uint64_t length = 0;
  if (size < sizeof length) return false;
  std::memcpy(&length, data, sizeof length);
  if (length > size - sizeof length) return false;
  const std::string all(reinterpret_cast<const char*>(data) + sizeof length, size - sizeof length);
  parts = {all.substr(0, length), all.substr(length)};
  return true;
}

std::string put_together(const Parts& parts) {
  const uint64_t length = parts.header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + parts.header + parts.data;
}

size_t bytes_of(const Json& tensor) {
  if (!tensor.contains("dtype") || !tensor.contains("shape") || !tensor["shape"].is_array()) return 0;
  const std::string dtype = tensor["dtype"].is_string() ? tensor["dtype"].get<std::string>() : "";
  size_t bytes = dtype == "F64" || dtype == "I64"   ? 8
                 : dtype == "F32" || dtype == "I32" ? 4
                 : dtype == "BF16"                  ? 2
                                                    : 1;
  for (const Json& size : tensor["shape"]) {
    if (!size.is_number_unsigned() && !size.is_number_integer()) return 0;
    bytes *= std::min(size.get<size_t>(), kLargestTensor + 1);
    if (bytes > kLargestTensor) return kLargestTensor;
  }
  return bytes;
}

// Makes offsets and data fit the shapes.
void fit_offsets(Json& header, std::string& data) {
  size_t end = 0;
  for (auto& [name, tensor] : header.items()) {
    if (name == "__metadata__" || !tensor.is_object()) continue;
    const size_t begin = end;
    end += bytes_of(tensor);
    tensor["data_offsets"] = {begin, end};
  }
  data.resize(end, '\1');
}

void mutate_header(Parts& parts, Random& random) {
  Json header = Json::parse(parts.header, nullptr, false);
  if (!header.is_object()) {
    parts.header = mutated_bytes(parts.header, 64);
    return;
  }
  const bool fit = below(random, 4) != 0;
  for (size_t changes = 1 + below(random, 3); changes > 0; --changes) mutate_value(header, random);
  if (!header.is_object()) {
    parts.header = dumped(header);
    return;
  }
  if (header.contains("__metadata__") && header["__metadata__"].is_object())
    header["__metadata__"].erase("tandem.digests");
  if (fit) fit_offsets(header, parts.data);
  parts.header = dumped(header);
}

}  // namespace

size_t mutate_json(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  Random random(seed);
  return returned(mutated_json({reinterpret_cast<const char*>(data), size}, random), data, size, max_size);
}

size_t mutate_json_lines(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  Random random(seed);
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (size == 0) return LLVMFuzzerMutate(data, size, max_size);
  const size_t inside = below(random, size);
  const size_t before = text.rfind('\n', inside), after = text.find('\n', inside + 1);
  const size_t begin = before == std::string::npos || before == inside ? 0 : before + 1;
  const size_t end = after == std::string::npos ? size : after;
  const std::string line = mutated_json(text.substr(begin, end - begin), random);
  return returned(text.substr(0, begin) + line + text.substr(end), data, size, max_size);
}

size_t mutate_safetensors(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  Random random(seed);
  Parts parts;
  const size_t kind = below(random, 10);
  if (kind == 0 || !take_apart(data, size, parts)) return LLVMFuzzerMutate(data, size, max_size);
  if (kind < 3)
    parts.data = mutated_bytes(parts.data, 0);
  else if (kind == 3)
    parts.header = mutated_bytes(parts.header, 64);
  else
    mutate_header(parts, random);
  return returned(put_together(parts), data, size, max_size);
}

}  // namespace tandem::fuzz
