// Configurations of runs: any text is one or an Error, and one that was read is written as it was read.
#include "tandem/models/training/run_config.h"

#include <nlohmann/json.hpp>

#include "mutators.h"
#include "support.h"

namespace tandem::fuzz {
namespace {

// JSON's own comparison takes -1 for the largest unsigned number.
bool same(const nlohmann::json& a, const nlohmann::json& b) {
  const auto negative = [](const nlohmann::json& x) { return x.is_number() && x.get<double>() < 0; };
  return a == b && negative(a) == negative(b);
}

// Requires that each field of `written` that `given` has is the same there.
void check_fields(const nlohmann::json& given, const nlohmann::json& written) {
  for (const auto& [name, value] : written.items()) {
    const auto found = given.find(name);
    if (found == given.end()) continue;
    if (value.is_object())
      check_fields(*found, value);
    else
      require(same(*found, value), "a field has the value that the text gives it: " + name);
  }
}

}  // namespace
}  // namespace tandem::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  return tandem::fuzz::mutate_json(data, size, max_size, seed, "run_config");
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  using namespace tandem::fuzz;
  const std::string text(text_of(data, size));
  RunConfig config;
  if (!accepts([&] { config = RunConfig::from_text(text); })) return 0;
  const std::string written = config.text();
  require(RunConfig::from_text(written).text() == written, "a configuration comes back");
  check_fields(nlohmann::json::parse(text), nlohmann::json::parse(written));
  return 0;
}
