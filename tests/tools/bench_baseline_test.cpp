// Records of bench and their comparison, with planted changes, so that nothing depends on how fast anything is.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "tests/support/errors.h"
#include "tests/support/run_tool.h"
#include "tools/bench/baseline.h"
#include "tools/bench/json.h"

namespace tandem::testing {
namespace {

using nlohmann::ordered_json;

BenchSettings small_settings() {
  BenchSettings settings;
  settings.targets = {"softmax", "linear", "step"};
  settings.precisions = {MatmulPrecision::f32};
  BenchSizes overrides;
  overrides.unroll = 8;
  overrides.batch_size = 2;
  overrides.d = 16;
  overrides.d_projected = 8;
  overrides.vocabulary = 5;
  settings.sizes = bench_sizes("laptop", overrides);
  settings.rounds = 3;
  settings.steps = 4;
  settings.passes = 1;
  return settings;
}

// One case of softmax, one of linear and a step, with spreads of -5 % .. +5 %.
ordered_json record_of_small() {
  const auto around = [](double median) { return Spread{0.95 * median, median, 1.05 * median}; };
  Peaks peaks;
  peaks.f32_gflops = 200;
  ordered_json record = record_json(small_settings());
  record["peaks"] = peaks_json(peaks);
  BenchCase c;
  c.op = "softmax";
  c.name = "all";
  c.forward.bytes = 4e6;
  c.backward.bytes = 8e6;
  BenchResult r;
  r.error = 1e-7;
  r.peak_bytes = 3 << 20;
  r.forward_ms = around(0.5);
  r.backward_ms = around(2);
  r.forward_floors = around(1.25);
  r.backward_floors = around(2.5);
  r.forward_copy_gbs = r.backward_copy_gbs = 10;
  record["operators"].push_back(case_json(c, r, peaks));
  c.op = "linear";
  c.name = "square";
  c.forward = {.flops = 1e8};
  c.backward = {.flops = 2e8};
  record["operators"].push_back(case_json(c, r, peaks));
  StepResult step;
  step.steps = 4;
  step.tokens_per_step = 16;
  step.step_ms = around(10);
  step.replay_ms = around(5);
  step.split_ms = 10;
  step.operators = {{"linear", 3, 2, 3}, {"concat", 1, 0.03, 0.02}};
  step.flops.f32 = 800'000'000;
  step.peak_floor_ms = 4;
  step.parts = {
      {"step", around(2.5)}, {"replay", around(1.25)}, {"linear", around(1.25)}, {"concat", around(0.0125)}};
  step.peak_bytes = 5 << 20;
  step.reserved_bytes = 7 << 20;
  record["steps"].push_back(step_json(step));
  return record;
}

constexpr int64_t kQuantities = 2 * 3 + 3 + 3;  // two passes and memory a case; parts but concat; exact ones

Comparison after(const std::function<void(ordered_json&)>& change, double tolerance = 0.1) {
  ordered_json now = record_of_small();
  change(now);
  return compare_records(record_of_small(), now, tolerance);
}

void multiply(ordered_json& spread, double factor) {
  for (auto& [end, value] : spread.items()) value = value.get<double>() * factor;
}

TEST_CASE("bench record: has every field that was measured") {
  const ordered_json record = ordered_json::parse(record_of_small().dump());
  CHECK(record == record_of_small());
  const ordered_json& softmax = record["operators"][0];
  CHECK(softmax["operator"] == "softmax");
  CHECK(softmax["precision"] == "f32");
  CHECK(softmax["error"] == 1e-7);
  CHECK(softmax["peak_bytes"] == 3 << 20);
  CHECK(softmax["forward"]["ms"]["median"] == 0.5);
  CHECK(softmax["forward"]["gbs"] == doctest::Approx(8));
  CHECK(softmax["forward"]["share_of_copy"] == doctest::Approx(0.8));
  CHECK(softmax["backward"]["share_of_copy"] == doctest::Approx(0.4));
  CHECK(record["operators"][1]["forward"]["gflops"] == doctest::Approx(200));
  CHECK(record["operators"][1]["backward"]["share_of_peak"] == doctest::Approx(0.5));
  const ordered_json& step = record["steps"][0];
  CHECK(step["tokens_per_second"] == doctest::Approx(1600));
  CHECK(step["step_over_peak_floor"] == doctest::Approx(2.5));
  CHECK(step["step_over_replay"] == doctest::Approx(2));
  CHECK(step["split"][0]["share"] == doctest::Approx(0.5));
  CHECK(!step.contains("eager_ms"));
  CHECK(record["peaks"] == ordered_json{{"f32", 200.0}});

  const BenchSettings settings = settings_of(record), expected = small_settings();
  CHECK(settings.targets == expected.targets);
  CHECK(settings.precisions == expected.precisions);
  CHECK(settings.sizes.text() == expected.sizes.text());
  CHECK(settings.sizes.words == expected.sizes.words);
  CHECK(settings.rounds == 3);
  CHECK(settings.steps == 4);
  CHECK(settings.passes == 1);
}

TEST_CASE("bench record: a pass that is lost in noise, or that moves nothing, has no rate") {
  BenchCase c;
  c.forward.bytes = 100;
  BenchResult r;
  r.forward_ms = {-1e-3, -1e-4, 1e-3};
  const ordered_json json = case_json(c, r, {});
  CHECK(json["forward"]["bytes"] == 100);
  CHECK(!json["forward"].contains("gbs"));
  CHECK(!json["backward"].contains("times_floor"));
}

TEST_CASE("bench --baseline: nothing has moved between equal records") {
  const Comparison same = after([](ordered_json&) {});
  CHECK(same.compared == kQuantities);
  CHECK(same.moved.empty());
  CHECK(same.worse() == 0);
  CHECK(comparison_text(same) == fmt::format("nothing moved beyond noise, of {} quantities\n", kQuantities));
}

TEST_CASE("bench --baseline: changes are worse or better, the largest first") {
  const Comparison changed = after([](ordered_json& now) {
    multiply(now["operators"][0]["forward"]["times_floor"], 1.5);
    multiply(now["operators"][1]["backward"]["times_floor"], 0.25);
    multiply(now["steps"][0]["times_floor"]["step"], 1.2);
  });
  CHECK(changed.compared == kQuantities);
  REQUIRE(changed.moved.size() == 3);
  CHECK(changed.moved[0].name == "linear f32 square backward");
  CHECK(changed.moved[0].factor() == doctest::Approx(0.25));
  CHECK(changed.moved[1].name == "softmax f32 all forward");
  CHECK(changed.moved[1].before.median == 1.25);
  CHECK(changed.moved[1].now.median == doctest::Approx(1.875));
  CHECK(changed.moved[2].name == "step f32");
  CHECK(changed.worse() == 2);
  const std::string text = comparison_text(changed);
  CHECK(contains(text, fmt::format("3 of {} quantities moved", kQuantities)));
  CHECK(contains(text, "better  linear f32 square backward"));
  CHECK(contains(text, "worse   softmax f32 all forward"));
  CHECK(contains(text, "1.250 (1.188 .. 1.312)"));
  const ordered_json json = comparison_json(changed);
  CHECK(json["worse"] == 2);
  CHECK(json["moved"][0]["verdict"] == "better");
}

TEST_CASE("bench --baseline: a slower machine changes nothing, as times are in units of their floors") {
  const Comparison slower = after([](ordered_json& now) {
    for (ordered_json& c : now["operators"])
      for (const char* pass : {"forward", "backward"}) multiply(c[pass]["ms"], 3);
    multiply(now["steps"][0]["ms"], 3);
    now["peaks"]["f32"] = 67;
  });
  CHECK(slower.moved.empty());
}

TEST_CASE("bench --baseline: a change within the tolerance or within either spread is noise") {
  const auto grown = [](double factor, const std::function<void(ordered_json&)>& widen, double tolerance) {
    return after(
               [&](ordered_json& now) {
                 ordered_json& floors = now["operators"][0]["forward"]["times_floor"];
                 multiply(floors, factor);
                 widen(floors);
               },
               tolerance)
        .moved.size();
  };
  const auto as_it_is = [](ordered_json&) {};
  CHECK(grown(1.09, as_it_is, 0.1) == 0);
  CHECK(grown(1.09, as_it_is, 0.08) == 1);
  CHECK(grown(1.04, as_it_is, 0.01) == 0);  // in the spread before
  CHECK(grown(1.12, as_it_is, 0.1) == 1);
  CHECK(grown(1.12, as_it_is, 0.2) == 0);
  CHECK(grown(
            1.5, [](ordered_json& floors) { floors["min"] = 1.2; }, 0.1) == 0);  // once as fast as before
  CHECK(grown(
            1.5, [](ordered_json& floors) { floors["min"] = 1.3; }, 0.1) == 1);
}

TEST_CASE("bench --baseline: bytes and operations have no noise, and count as worse beyond the tolerance") {
  const Comparison slightly =
      after([](ordered_json& now) { now["operators"][0]["peak_bytes"] = (3 << 20) + 4; });
  REQUIRE(slightly.moved.size() == 1);
  CHECK(slightly.moved[0].name == "softmax f32 all memory");
  CHECK(slightly.worse() == 0);
  const Comparison far = after([](ordered_json& now) {
    now["steps"][0]["reserved_bytes"] = 14 << 20;
    now["steps"][0]["flops"]["bf16"] = 800'000'000;
  });
  REQUIRE(far.moved.size() == 2);
  CHECK(far.moved[0].factor() == 2);
  CHECK(far.moved[1].factor() == 2);
  CHECK(far.worse() == 2);
  CHECK(contains(comparison_text(far), "14 MiB"));
  // From nothing to something, and back.
  ordered_json before = record_of_small(), now = record_of_small();
  before["operators"][0]["peak_bytes"] = 0;
  CHECK(compare_records(before, now, 0.1).worse() == 1);
  CHECK(compare_records(now, before, 0.1).moved.size() == 1);
  CHECK(compare_records(now, before, 0.1).worse() == 0);
}

TEST_CASE("bench --baseline: the smallest parts of a step count only once they have grown") {
  const auto concat = [](double factor) {
    return after([factor](ordered_json& now) { multiply(now["steps"][0]["times_floor"]["concat"], factor); });
  };
  CHECK(concat(1.5).moved.empty());
  const Comparison grown = concat(10);
  REQUIRE(grown.moved.size() == 1);
  CHECK(grown.moved[0].name == "step f32: concat");
}

TEST_CASE("bench --baseline: new and missing quantities are named if both runs should have them") {
  const Comparison renamed = after([](ordered_json& now) { now["operators"][0]["case"] = "some"; });
  CHECK(renamed.added == std::vector<std::string>{"softmax f32 some backward", "softmax f32 some forward",
                                                  "softmax f32 some memory"});
  CHECK(renamed.missing == std::vector<std::string>{"softmax f32 all backward", "softmax f32 all forward",
                                                    "softmax f32 all memory"});
  CHECK(renamed.worse() == 0);
  const std::string text = comparison_text(renamed);
  CHECK(contains(text, "new     softmax f32 some forward"));
  CHECK(contains(text, "missing softmax f32 all forward"));
  const auto linear_alone = [](ordered_json& now) {
    now["targets"] = {"linear"};
    now["operators"].erase(0);
    now["steps"].clear();
  };
  const Comparison fewer = after(linear_alone);
  CHECK(fewer.compared == 3);
  CHECK(fewer.missing.empty());
  ordered_json before = record_of_small();
  linear_alone(before);
  CHECK(compare_records(before, record_of_small(), 0.1).added.empty());
}

TEST_CASE("bench --baseline: passes are joined by the median of medians and the extremes of all") {
  const auto with_passes = [](const std::vector<double>& factors) {
    return after([&factors](ordered_json& now) {
      const ordered_json once = now["operators"][0];
      now["operators"].erase(0);
      for (const double factor : factors) {
        now["operators"].push_back(once);
        multiply(now["operators"].back()["forward"]["times_floor"], factor);
      }
    });
  };
  const Comparison slow = with_passes({1.5, 3, 2});
  REQUIRE(slow.moved.size() == 1);
  CHECK(slow.moved[0].factor() == doctest::Approx(2));
  CHECK(slow.moved[0].now.min == doctest::Approx(1.25 * 1.5 * 0.95));
  CHECK(slow.moved[0].now.max == doctest::Approx(1.25 * 3 * 1.05));
  CHECK(with_passes({1, 3, 2}).moved.empty());  // once it was as fast as before
}

TEST_CASE("bench --baseline: another device, other sizes and another model are refused with both values") {
  const auto refused = [](const std::function<void(ordered_json&)>& change) {
    ordered_json before = record_of_small();
    change(before);
    return error_of([&before] { check_comparable(before, record_of_small()); });
  };
  CHECK(refused([](ordered_json&) {}) == "no error");
  const std::string device =
      refused([](ordered_json& before) { before["device"] = "cpu, Abacus, 1 threads"; });
  CHECK(contains(device, "cpu, Abacus, 1 threads; this is cpu, "));
  const std::string sizes = refused([](ordered_json& before) {
    before["sizes"]["d"] = 32;
    before["sizes"]["preset"] = "base";
  });
  CHECK(contains(sizes, "d 32, now 16"));
  CHECK(contains(sizes, "preset \"base\", now \"laptop\""));
  CHECK(contains(refused([](ordered_json& before) { before["sizes"]["model"]["layers"] = 9; }),
                 "layers 9, now 6"));
  CHECK(refused([](ordered_json& before) { before["sizes"]["model"].erase("layers"); }) == "no error");
}

TEST_CASE("bench --baseline: a field of another type is refused, whatever reads it") {
  const auto refused = [](const std::function<void(ordered_json&)>& change, const auto& read) {
    ordered_json before = record_of_small();
    change(before);
    const std::string error = error_of([&] { read(before, record_of_small()); });
    CAPTURE(error);
    return contains(error, "--baseline: a record of bench, but not a whole one");
  };
  const auto compare = [](const ordered_json& before, const ordered_json& now) {
    compare_records(before, now, 0.1);
  };
  CHECK(refused([](ordered_json& before) { before["device"] = 1; }, check_comparable));
  CHECK(refused([](ordered_json& before) { before["recompute"] = 1; }, check_comparable));
  CHECK(refused([](ordered_json& before) { before["neighbours"] = "two"; }, check_comparable));
  CHECK(refused([](ordered_json& before) { before["sizes"] = 1; }, check_comparable));
  CHECK(refused([](ordered_json& before) { before["peaks"]["f32"] = "fast"; }, peaks_then_and_now));
  CHECK(refused(
      [](ordered_json& before) {
        before["operators"].clear();
        before["steps"].clear();
        before["targets"] = {1};
      },
      compare));
}

TEST_CASE("bench --baseline: damaged records are refused") {
  CHECK(contains(error_of([] { after([](ordered_json& now) { now["operators"][0].erase("precision"); }); }),
                 "'precision' not found"));
  CHECK(contains(error_of([] {
                   after([](ordered_json& now) {
                     now["targets"] = {"peak"};
                     now["operators"].clear();
                     now["steps"].clear();
                   });
                 }),
                 "the record is of softmax, linear, step, in f32"));
  ordered_json record = record_of_small();
  record["rounds"] = "many";
  CHECK(contains(error_of([&record] { settings_of(record); }), "damaged"));
  record["rounds"] = 1e300;
  CHECK(contains(error_of([&record] { settings_of(record); }), "damaged: rounds is 1e+300"));
  record["rounds"] = int64_t{1} << 40;
  CHECK(contains(error_of([&record] { settings_of(record); }), "damaged: rounds is 1099511627776"));
  record["rounds"] = 3;
  record["sizes"]["d"] = 1.5;
  CHECK(contains(error_of([&record] { settings_of(record); }), "damaged: d is 1.5"));
  const TempDir folder;
  const auto read = [&folder](const std::string& text) {
    write_text(folder / "record", text);
    return error_of([&folder] { read_record((folder / "record").string()); });
  };
  CHECK(contains(read("f32: 12 ms"), "not JSON"));
  CHECK(contains(read("[1]"), "not a record of bench"));
  CHECK(contains(read("{\"bpc\": 1.7}"), "not a record of bench"));
  CHECK(contains(read("{\"bench\": 2}"), "format 2; this bench reads and writes 1"));
  CHECK(contains(read("{\"bench\": 1}"), "without its field device"));
  CHECK(read(record_of_small().dump()) == "no error");
  CHECK(contains(error_of([] { read_record("/nothing/here"); }), "/nothing/here: cannot be read"));
}

TEST_CASE("bench: writes a record, and compares a run with it") {
  const TempDir folder;
  const std::string path = (folder / "record.json").string(), other = (folder / "now.json").string();
  const std::vector<std::string> sizes = {"--unroll=8", "--batch-size=2",  "--d=16",
                                          "--heads=2",  "--d-projected=8", "--vocabulary=5",
                                          "--rounds=2", "--precision=f32", "--device=cpu"};
  const auto bench = [](std::vector<std::string> arguments, const std::vector<std::string>& more = {}) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_tool("bench", arguments);
  };
  const ToolRun made = bench({"softmax", "linear", "step", "--steps=3", "--json=" + path}, sizes);
  CAPTURE(made.err);
  REQUIRE(made.exit_code == 0);
  CHECK(contains(made.out, "softmax f32 masked"));  // the text, too
  ordered_json record = read_record(path);
  CHECK(record["device"].get<std::string>().starts_with("cpu, "));
  CHECK(record["peaks"]["f32"] > 0);
  CHECK(record["steps"].size() == 1);
  for (const ordered_json& c : record["operators"]) {
    CHECK(c["forward"]["times_floor"]["min"] > 0);
    CHECK(c["forward"]["times_floor"]["min"] <= c["forward"]["times_floor"]["median"]);
  }
  CHECK(record["steps"][0]["times_floor"]["step"]["median"] > 0);

  const ToolRun alone = bench({"softmax", "--json"}, sizes);
  REQUIRE(alone.exit_code == 0);
  CHECK(ordered_json::parse(alone.out)["targets"] == ordered_json{"softmax"});

  // With times before that no machine has, all is worse, or all is better: even after a step in which the
  // machine stood still, which the spread of its few steps takes in.
  const auto scaled = [&](double factor) {
    ordered_json changed = record;
    for (ordered_json& c : changed["operators"])
      for (const char* pass : {"forward", "backward"})
        if (c.contains(pass) && c[pass].contains("times_floor")) multiply(c[pass]["times_floor"], factor);
    for (auto& [part, floors] : changed["steps"][0]["times_floor"].items()) multiply(floors, factor);
    write_text(path, changed.dump());
  };
  scaled(1e-9);
  const ToolRun worse = bench({"--baseline=" + path, "--json=" + other});  // with the settings of the record
  CAPTURE(worse.out);
  CAPTURE(worse.err);
  CHECK(worse.exit_code == 1);
  CHECK(contains(worse.err, "are worse than in " + path + " by more than 10 %"));
  CHECK(contains(worse.out, "worse   softmax f32 "));
  CHECK(contains(worse.out, "worse   step f32 "));
  const ordered_json now = read_record(other);
  for (const char* field : {"device", "sizes", "targets", "precisions", "rounds", "timed_steps", "passes"})
    CHECK(now[field] == record[field]);
  CHECK(now["against"]["worse"] > 0);
  CHECK(now["against"]["missing"].empty());
  CHECK(now["against"]["new"].empty());
  scaled(1e9);
  // --against is the former name of --baseline.
  const ToolRun better = bench({"softmax", "--passes=2", "--against=" + path, "--json=" + other});
  CAPTURE(better.out);
  CAPTURE(better.err);
  CHECK(better.exit_code == 0);
  CHECK(contains(better.out, "pass 2 of 2"));
  CHECK(contains(better.out, "better  softmax f32 "));
  CHECK(read_record(other)["operators"].size() == 2 * ordered_json::parse(alone.out)["operators"].size());

  const ToolRun refused = bench({"--baseline=" + path, "--d=32"});
  CHECK(refused.exit_code == 1);
  CHECK(contains(refused.err, "d 16, now 32"));
  CHECK(bench({"softmax", "--tolerance=0.2"}).exit_code == 2);  // without --baseline
  CHECK(bench({"softmax", "--baseline=" + path, "--tolerance=-1"}).exit_code == 2);
  CHECK(bench({"--json"}).exit_code == 2);
  CHECK(bench({"softmax", "--json=/nothing/here"}, sizes).exit_code == 1);
  const ToolRun peak = bench({"peak", "--rounds=1", "--device=cpu", "--json"});
  REQUIRE(peak.exit_code == 0);
  const ordered_json peaks = ordered_json::parse(peak.out);
  CHECK(peaks["peaks"]["f32"] > 0);
  CHECK(peaks["peak_table"]["copies"].size() == 5);
}

}  // namespace
}  // namespace tandem::testing
