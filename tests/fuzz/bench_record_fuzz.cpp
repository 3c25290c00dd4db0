// Records of bench: a file is a record or an Error, its settings are read or refused, and it is compared with itself and
// with a good record or refused.
#include <nlohmann/json.hpp>
#include <utility>

#include "mutators.h"
#include "support.h"
#include "tools/bench/baseline.h"
#include "tools/bench/json.h"

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  return tandem::fuzz::mutate_json(data, size, max_size, seed, "bench_record");
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  using namespace tandem::fuzz;
  static const nlohmann::ordered_json good = read_record(TANDEM_FUZZ_SEEDS "/bench_record/whole.json");
  nlohmann::ordered_json record;
  const std::string path = file_of(data, size);
  if (!accepts([&] { record = read_record(path); })) return 0;

  accepts([&] { settings_of(record); });
  accepts([&] { check_comparable(record, good); });
  accepts([&] { peaks_then_and_now(record, good); });
  for (const nlohmann::ordered_json* const now : {&good, &std::as_const(record)})
    accepts([&] {
      const Comparison comparison = compare_records(record, *now, 0.1);
      require(comparison.compared > 0, "something was compared");
      require(!comparison_text(comparison).empty() && comparison_json(comparison).is_object(),
              "a comparison is shown");
    });
  return 0;
}
