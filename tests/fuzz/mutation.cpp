// Mutations of bytes and of JSON values.
#include "mutation.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <vector>

#include "mutators.h"

namespace tandem::fuzz {
namespace {

constexpr int kDeepest = 64;  // levels of JSON that are walked and written by recursion

Json interesting_value(Random& random) {
  static const Json values = Json::parse(R"([
      null, true, false, 0, 1, -1, 2, 3, 7, 8, 9, 31, 32, 64, 255, 256, 65536, 0.5, -0.0, 1e-300, 1e300,
      2147483647, -2147483648, 4294967296, 2305843009213693952, 9223372036854775807, -9223372036854775808,
      18446744073709551615, "", "x", "\u001b[2J", "\u00e4", [], {}, [0, 0], [1, -1]])");
  return values[below(random, values.size())];
}

void collect(Json& json, std::vector<Json*>& into) {
  into.push_back(&json);
  if (json.is_structured())
    for (Json& item : json) collect(item, into);
}

void mutate_text(Json& value, Random& random) {
  Json inside = parse_shallow(value.get<std::string>());
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

std::vector<std::string> files_in(const std::filesystem::path& folder) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    files.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return files;
}

}  // namespace

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

std::string mutated_json(const std::string& text, Random& random) {
  Json json = parse_shallow(text);
  if (json.is_discarded() || below(random, 8) == 0) return mutated_bytes(text, 64);
  mutate_value(json, random);
  return dumped(json);
}

Json parse_shallow(const std::string& text) {
  bool deep = false;
  const auto within_depth = [&deep](int depth, Json::parse_event_t, Json&) {
    deep = deep || depth > kDeepest;
    return !deep;
  };
  Json json = Json::parse(text, within_depth, false);
  return deep ? Json(Json::value_t::discarded) : json;
}

std::string input_or_seed(const uint8_t* data, size_t size, const char* harness, Random& random) {
  static const std::vector<std::string> seeds = files_in(std::filesystem::path(TANDEM_FUZZ_SEEDS) / harness);
  if (below(random, 3) == 0) return seeds[below(random, seeds.size())];
  return {reinterpret_cast<const char*>(data), size};
}

size_t returned(const std::string& text, uint8_t* data, size_t size, size_t max_size) {
  if (text.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, text.data(), text.size());
  return text.size();
}

}  // namespace tandem::fuzz
