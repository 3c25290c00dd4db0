// metrics.jsonl: a resumed run keeps the lines of its steps, and keeps them once more as they are.
#include "tandem/tools/run/metrics.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "mutators.h"
#include "support.h"
#include "tandem/data/download/files.h"

namespace {
constexpr int64_t kLastStep = 10;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  return tandem::fuzz::mutate_json_lines(data, size, max_size, seed, "metrics");
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  using namespace tandem::fuzz;
  const std::string path = file_of(data, size);
  const auto opened = [&path] {
    const MetricsLog log(path, kLastStep);
    const std::vector<uint8_t> bytes = read_file(path);
    return std::string(bytes.begin(), bytes.end());
  };
  std::string kept;
  if (!accepts([&] { kept = opened(); })) return 0;
  std::istringstream lines(kept);
  for (std::string line; std::getline(lines, line);) {
    const auto step = nlohmann::json::parse(line).at("step");
    require(step.is_number_integer() && (!step.is_number_unsigned() || step.get<uint64_t>() <= kLastStep) &&
                step.get<int64_t>() <= kLastStep,
            "a line that is kept is of a step that was done");
  }
  require(opened() == kept, "lines that were kept are kept again");
  return 0;
}
