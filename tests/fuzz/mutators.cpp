// The mutators of JSON, lines of JSON, command lines, and safetensors.
#include "mutators.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <sstream>

#include "mutation.h"

namespace tandem::fuzz {
namespace {

constexpr size_t kLargestTensor = 4096;  // in bytes: data are not made larger to fit a shape

// A safetensors file, taken apart.
struct Parts {
  std::string header, data;
};

bool take_apart(const std::string& file, Parts& parts) {
  uint64_t length = 0;
  if (file.size() < sizeof length) return false;
  std::memcpy(&length, file.data(), sizeof length);
  if (length > file.size() - sizeof length) return false;
  parts = {file.substr(sizeof length, length), file.substr(sizeof length + length)};
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

// Removes digests from a header's metadata: they would refuse every other change.
void drop_digests(std::string& text) {
  Json header = parse_shallow(text);
  if (!header.is_object() || !header.contains("__metadata__") || !header["__metadata__"].is_object()) return;
  Json kept = Json::object();
  for (const auto& [key, value] : header["__metadata__"].items())
    if (!key.starts_with("tandem.digest") && !key.ends_with("_xxh3")) kept[key] = value;
  if (kept.size() == header["__metadata__"].size()) return;
  header["__metadata__"] = kept;
  text = dumped(header);
}

void mutate_header(Parts& parts, Random& random) {
  Json header = parse_shallow(parts.header);
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
  if (fit) fit_offsets(header, parts.data);
  parts.header = dumped(header);
  // The writer aligns the data, and most readers refuse what is not aligned.
  if (below(random, 8) != 0) parts.header.resize((parts.header.size() + 7) / 8 * 8, ' ');
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

// Returns a flag in one of the forms that command lines know: alone, or with a value after = or as the next argument.
std::string random_flag(const std::vector<std::string>& flags, const std::vector<std::string>& values,
                        Random& random) {
  static const std::vector<std::string> numbers = words_of(
      "0 1 -1 2 7 64 010 0x10 1.5 -0.0 1e-3 1e300 1e999 nan inf -inf +1 1_0 90s 10m 8h d=256 x= 2147483648 "
      "9223372036854775807 9223372036854775808 -9223372036854775809 18446744073709551615 18446744073709551616");
  const std::string flag = flags[below(random, flags.size())];
  switch (below(random, 8)) {
    case 0:
      return flag;
    case 1:
      return flag + "=";
    case 2:
      return flag + "\n" + numbers[below(random, numbers.size())];
    case 3:
    case 4:
      return flag + "=" + values[below(random, values.size())];
    default:
      return flag + "=" + numbers[below(random, numbers.size())];
  }
}

}  // namespace

size_t mutate_json(uint8_t* data, size_t size, size_t max_size, unsigned int seed, const char* harness) {
  Random random(seed);
  const std::string text = input_or_seed(data, size, harness, random);
  return returned(mutated_json(text, random), data, size, max_size);
}

size_t mutate_json_lines(uint8_t* data, size_t size, size_t max_size, unsigned int seed,
                         const char* harness) {
  Random random(seed);
  const std::string text = input_or_seed(data, size, harness, random);
  if (text.empty()) return LLVMFuzzerMutate(data, size, max_size);
  const size_t inside = below(random, text.size());
  const size_t before = text.rfind('\n', inside), after = text.find('\n', inside + 1);
  const size_t begin = before == std::string::npos || before == inside ? 0 : before + 1;
  const size_t end = after == std::string::npos ? text.size() : after;
  const std::string line = mutated_json(text.substr(begin, end - begin), random);
  return returned(text.substr(0, begin) + line + text.substr(end), data, size, max_size);
}

size_t mutate_arguments(uint8_t* data, size_t size, size_t max_size, unsigned int seed, const char* harness,
                        const std::vector<std::string>& flags, const std::vector<std::string>& values) {
  Random random(seed);
  std::vector<std::string> arguments;
  std::istringstream lines(input_or_seed(data, size, harness, random));
  for (std::string line; std::getline(lines, line);) arguments.push_back(line);
  for (size_t changes = 1 + below(random, 3); changes > 0; --changes) {
    const size_t kind = below(random, 8);
    const size_t at = below(random, arguments.size() + 1);
    const auto place = arguments.begin() + static_cast<std::ptrdiff_t>(at);
    if (kind < 4 || at == arguments.size()) {
      arguments.insert(place, random_flag(flags, values, random));
    } else if (kind == 4) {
      arguments.erase(place);
    } else if (kind == 5) {
      const std::string copy = *place;
      arguments.insert(arguments.begin() + static_cast<std::ptrdiff_t>(below(random, arguments.size() + 1)),
                       copy);
    } else if (kind == 6) {
      std::swap(*place, arguments[below(random, arguments.size())]);
    } else {
      *place = mutated_bytes(*place, 16);
    }
  }
  std::string text;
  for (const std::string& argument : arguments) text += (text.empty() ? "" : "\n") + argument;
  return returned(text, data, size, max_size);
}

size_t mutate_safetensors(uint8_t* data, size_t size, size_t max_size, unsigned int seed,
                          const char* harness) {
  Random random(seed);
  Parts parts;
  const size_t kind = below(random, 10);
  if (kind == 0 || !take_apart(input_or_seed(data, size, harness, random), parts))
    return LLVMFuzzerMutate(data, size, max_size);
  if (below(random, 8) != 0) drop_digests(parts.header);
  if (kind < 3)
    parts.data = mutated_bytes(parts.data, 0);
  else if (kind == 3)
    parts.header = mutated_bytes(parts.header, 64);
  else
    mutate_header(parts, random);
  return returned(put_together(parts), data, size, max_size);
}

}  // namespace tandem::fuzz
