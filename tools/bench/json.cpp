// Records of bench as JSON.
#include "tools/bench/json.h"

#include <fmt/chrono.h>

#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "tandem/core/check.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/device.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;

constexpr int kFormat = 1;

ordered_json pass_json(const Work& work, const Spread& ms, const Spread& floors, double copy_gbs,
                       double peak_gflops) {
  ordered_json json = {{"ms", spread_json(ms)}};
  if (work.empty()) return json;
  const bool product = work.flops > 0;
  json[product ? "flops" : "bytes"] = product ? work.flops : work.bytes;
  if (!product) json["copy_gbs"] = copy_gbs;
  if (ms.median > 0) {  // on a GPU the time of a pass is a difference, which may be lost in noise
    const double rate = (product ? work.flops : work.bytes) / ms.median / 1e6;
    json[product ? "gflops" : "gbs"] = rate;
    json[product ? "share_of_peak" : "share_of_copy"] = rate / (product ? peak_gflops : copy_gbs);
  }
  json["times_floor"] = spread_json(floors);
  return json;
}

// Sets an integer to that of a field. Error: a number with a fraction, or one that the type cannot hold.
template <class Integer>
void take(const ordered_json& json, const char* field, Integer& target) {
  const ordered_json& value = json.at(field);
  const bool fits = value.is_number_unsigned()
                        ? std::in_range<Integer>(value.get<uint64_t>())
                        : value.is_number_integer() && std::in_range<Integer>(value.get<int64_t>());
  TANDEM_CHECK(fits, "a record of bench whose settings are damaged: {} is {}, not a whole number that fits",
               field, value.dump());
  target = value.get<Integer>();
}

}  // namespace

ordered_json sizes_json(const BenchSizes& sizes) {
  ordered_json json = {{"preset", sizes.preset},
                       {"unroll", sizes.unroll},
                       {"batch_size", sizes.batch_size},
                       {"d", sizes.d},
                       {"d_projected", sizes.d_projected},
                       {"heads", sizes.heads},
                       {"vocabulary", sizes.vocabulary},
                       {"words", sizes.words},
                       {"model", ordered_json::parse(sizes.model_config)}};
  if (sizes.shards > 1) json["shards"] = sizes.shards;  // so that records without it stay comparable
  return json;
}

std::string product_text(const GemmCall& p) {
  return fmt::format("{}x{}x{} {}{} {}", p.m, p.n, p.k, p.transpose_a ? 't' : 'n', p.transpose_b ? 't' : 'n',
                     p.count);
}

ordered_json record_json(const BenchSettings& settings) {
  ordered_json precisions = ordered_json::array();
  for (const MatmulPrecision precision : settings.precisions) precisions.push_back(name_of(precision));
  return {{"bench", kFormat},
          {"time", fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr)))},
          {"device", device_name(bench_device())},
          {"sizes", sizes_json(settings.sizes)},
          {"targets", settings.targets},
          {"precisions", precisions},
          {"rounds", settings.rounds},
          {"timed_steps", settings.steps},
          {"passes", settings.passes},
          {"recompute", settings.recompute},
          {"neighbours", settings.neighbours},
          {"peaks", ordered_json::object()},
          {"operators", ordered_json::array()},
          {"steps", ordered_json::array()}};
}

ordered_json peaks_json(const Peaks& peaks) {
  ordered_json json = ordered_json::object();
  for (const MatmulPrecision precision : {MatmulPrecision::f32, MatmulPrecision::tf32, MatmulPrecision::bf16})
    if (peaks.gflops(precision) > 0) json[name_of(precision)] = peaks.gflops(precision);
  return json;
}

ordered_json peak_table_json(const PeakTable& table) {
  ordered_json products = ordered_json::array(), copies = ordered_json::array();
  for (const auto& [precision, peak] : table.products)
    for (const GemmPeak::Row& row : peak.rows)
      products.push_back({{"precision", name_of(precision)}, {"shape", row.shape}, {"gflops", row.gflops}});
  for (const PeakTable::Copy& copy : table.copies)
    copies.push_back({{"bytes", copy.bytes}, {"gbs", copy.gbs}});
  return {{"products", products}, {"copies", copies}, {"read_gbs", table.read_gbs}};
}

ordered_json case_json(const BenchCase& c, const BenchResult& r, const Peaks& peaks) {
  const double peak = peaks.gflops(c.precision);
  ordered_json json = {
      {"operator", c.op},
      {"precision", name_of(c.precision)},
      {"case", c.name},
      {"error", r.error},
      {"tolerance", c.tolerance},
      {"peak_bytes", r.peak_bytes},
      {"forward", pass_json(c.forward, r.forward_ms, r.forward_floors, r.forward_copy_gbs, peak)}};
  if (c.has_backward)
    json["backward"] = pass_json(c.backward, r.backward_ms, r.backward_floors, r.backward_copy_gbs, peak);
  return json;
}

ordered_json spread_json(const Spread& spread) {
  return {{"min", spread.min}, {"median", spread.median}, {"max", spread.max}};
}

ordered_json operator_json(const OperatorTime& time) {
  return {{"operator", time.name},
          {"calls", time.calls},
          {"forward_ms", time.forward_ms},
          {"backward_ms", time.backward_ms}};
}

ordered_json step_json(const StepResult& r) {
  ordered_json json = {{"precision", name_of(r.precision)},
                       {"steps", r.steps},
                       {"tokens_per_step", r.tokens_per_step},
                       {"ms", spread_json(r.step_ms)},
                       {"tokens_per_second", r.tokens_per_second()}};
  if (r.eager_ms.median > 0) {  // on a GPU
    json["eager_ms"] = spread_json(r.eager_ms);
    json["graph_refusal"] = r.graph_refusal;
  }
  ordered_json split = ordered_json::array(), floors = ordered_json::object();
  for (const OperatorTime& time : r.operators) {
    split.push_back(operator_json(time));
    split.back()["share"] = (time.forward_ms + time.backward_ms) / r.split_ms;
  }
  for (const StepPart& part : r.parts) floors[part.name] = spread_json(part.floors);
  json.update({{"split_ms", r.split_ms},
               {"split", split},
               {"optimizer", r.optimizer},
               {"optimizer_ms", r.optimizer_ms},
               {"rest_ms", r.rest_ms},
               {"flops", {{"f32", r.flops.f32}, {"bf16", r.flops.bf16}}},
               {"flops_per_token", r.flops_per_token},
               {"peak_floor_ms", r.peak_floor_ms},
               {"step_over_peak_floor", r.step_ms.median / r.peak_floor_ms}});
  if (!r.products.empty()) {
    ordered_json products = ordered_json::array();
    for (const GemmCall& p : r.products) products.push_back(product_text(p));
    json["products"] = products;
  }
  if (r.replay_ms.median > 0) {
    json["replay_ms"] = spread_json(r.replay_ms);
    json["step_over_replay"] = r.step_ms.median / r.replay_ms.median;
  }
  json.update({{"times_floor", floors},
               {"peak_bytes", r.peak_bytes},
               {"reserved_bytes", r.reserved_bytes},
               {"resident_bytes", r.resident_bytes},
               {"system_allocations", r.system_allocations}});
  return json;
}

ordered_json read_record(const std::string& path) {
  std::ifstream in(path);
  TANDEM_CHECK(in.good(), "{}: cannot be read", path);
  ordered_json record = ordered_json::parse(in, nullptr, false);
  TANDEM_CHECK(!record.is_discarded(), "{}: not JSON; give what `bench --json=FILE` wrote", path);
  TANDEM_CHECK(record.is_object() && record.contains("bench"),
               "{}: JSON, but not a record of bench; give what `bench --json=FILE` wrote", path);
  TANDEM_CHECK(record["bench"] == kFormat, "{}: a record in format {}; this bench reads and writes {}", path,
               record["bench"].dump(), kFormat);
  for (const char* field : {"device", "sizes", "targets", "precisions", "peaks", "operators", "steps"})
    TANDEM_CHECK(record.contains(field), "{}: a record of bench without its field {}", path, field);
  return record;
}

BenchSettings settings_of(const ordered_json& record) {
  BenchSettings settings;
  try {
    settings.targets = record.at("targets").get<std::vector<std::string>>();
    for (const std::string precision : record.at("precisions"))
      settings.precisions.push_back(precision_named(precision));
    const ordered_json& sizes = record.at("sizes");
    sizes.at("preset").get_to(settings.sizes.preset);
    settings.sizes.shards = 1;
    if (sizes.contains("shards")) take(sizes, "shards", settings.sizes.shards);
    take(sizes, "unroll", settings.sizes.unroll);
    take(sizes, "batch_size", settings.sizes.batch_size);
    take(sizes, "d", settings.sizes.d);
    take(sizes, "d_projected", settings.sizes.d_projected);
    take(sizes, "heads", settings.sizes.heads);
    take(sizes, "vocabulary", settings.sizes.vocabulary);
    take(sizes, "words", settings.sizes.words);
    settings.sizes.model_config = sizes.at("model").dump();
    take(record, "rounds", settings.rounds);
    take(record, "timed_steps", settings.steps);
    take(record, "passes", settings.passes);
    settings.recompute = record.value("recompute", false);  // older records lack these two
    settings.neighbours = record.value("neighbours", int64_t{0});
  } catch (const ordered_json::exception& error) {
    throw Error(fmt::format("a record of bench whose settings are damaged: {}", error.what()));
  }
  return settings;
}

}  // namespace tandem
