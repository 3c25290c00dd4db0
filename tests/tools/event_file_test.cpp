// Event files of TensorBoard, read back by a small reader: records with their checksums, and the messages in them.
#include "tandem/tools/run/event_file.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "tandem/tools/run/metrics.h"
#include "tandem/tools/run/tensorboard.h"
#include "tests/support/errors.h"
#include "tests/support/event_reader.h"
#include "tests/support/files.h"
#include "tests/support/train_process.h"

namespace tandem::testing {
namespace fs = std::filesystem;

TEST_CASE("event file: the masked checksum is that of TensorFlow's records") {
  CHECK(masked_crc32c("\x1a\x11"
                      "CRC test, one two") == 0x5794D08Au);
}

TEST_CASE("event file: it begins with its version and the start of a session") {
  const TempDir folder;
  const EventFile file(folder / "events", 51);
  CHECK(contains(file.path(), "events.out.tfevents."));
  const std::vector<Event> events = read_events(file.path());
  REQUIRE(events.size() == 2);
  CHECK(events[0].file_version == "brain.Event:2");
  CHECK(events[1].session_status == 1);
  CHECK(events[1].step == 51);
  CHECK(events[1].wall_time > 1.7e9);
  CHECK(EventFile(folder / "events", 1).path() != file.path());
}

TEST_CASE("event file: scalars, texts and histograms come back as they were written") {
  const TempDir folder;
  EventFile file(folder.path(), 1);
  const int64_t step = (int64_t{1} << 40) + 5;
  file.scalars(step,
               {{"train/loss", 1.5}, {"train/lr", 0.25}, {"nan", std::numeric_limits<double>::quiet_NaN()}});
  file.text(7, "sample/end", std::string(300, 'x') + "\xc3\xa4");
  file.histogram(8, "weights/w", Histogram::of({-1, 0, 0, 1, std::numeric_limits<float>::infinity()}));
  const std::vector<Event> events = read_events(file.path());
  REQUIRE(events.size() == 5);
  CHECK(events[2].step == step);
  CHECK(events[2].scalars.at("train/loss") == 1.5f);
  CHECK(events[2].scalars.at("train/lr") == 0.25f);
  CHECK(std::isnan(events[2].scalars.at("nan")));
  CHECK(events[3].texts.at("sample/end") == std::string(300, 'x') + "\xc3\xa4");
  CHECK(events[3].plugin == "text");
  const Histogram read = events[4].histograms.at("weights/w");
  CHECK(read.least == -1);
  CHECK(read.largest == 1);
  CHECK(read.sum == 0);
  CHECK(read.sum_of_squares == 2);
  REQUIRE(read.limits.size() == 30);
  REQUIRE(read.counts.size() == 30);
  CHECK(read.limits.back() == 1);
  CHECK(read.counts.front() == 1);  // the limit of a range belongs to it
  CHECK(read.counts[14] == 2);
  CHECK(read.counts.back() == 1);
}

TEST_CASE("histogram: every finite value is counted once, and equal values make one range") {
  std::vector<float> values;
  for (int i = 0; i < 1000; ++i) values.push_back(std::sin(static_cast<float>(i)));
  const Histogram many = Histogram::of(values);
  double count = 0;
  for (size_t i = 0; i < many.counts.size(); ++i) {
    count += many.counts[i];
    if (i > 0) CHECK(many.limits[i] > many.limits[i - 1]);
  }
  CHECK(count == 1000);
  const Histogram equal = Histogram::of({2, 2, 2});
  CHECK(equal.limits == std::vector<double>{2});
  CHECK(equal.counts == std::vector<double>{3});
  CHECK(Histogram::of({}).counts.empty());
  CHECK(Histogram::of({std::numeric_limits<float>::quiet_NaN()}).counts.empty());
}

TEST_CASE("event file: a row of the metrics becomes tags by group, and that of a stop nothing") {
  const TempDir folder;
  EventFile file(folder.path(), 1);
  write_row(file, {{"step", 3}, {"loss", 2.0}, {"bpc", 3.0}, {"skipped", false}});
  write_row(file, {{"step", 3}, {"dev_bpc", 2.5}, {"dev_nats", 1.75}, {"symbols", 9}});
  write_row(file, {{"step", 3}, {"dev_bpc", 2.5}, {kAtStop, true}});
  write_row(file, {{"step", 3}, {"prompt", "a\n"}, {"sample", "b"}});
  write_row(file, {{"step", 0}, {"unknown_train", 0.5}});
  const std::vector<Event> events = read_events(file.path());
  REQUIRE(events.size() == 6);
  CHECK(events[2].scalars == std::map<std::string, float>{{"train/loss", 2}, {"train/bpc", 3}});
  CHECK(events[3].scalars == std::map<std::string, float>{{"dev/bpc", 2.5}, {"dev/nats", 1.75}});
  CHECK(events[4].texts == std::map<std::string, std::string>{{"sample/on_the_way", "    a\n    b"}});
  CHECK(events[5].scalars == std::map<std::string, float>{{"unknown/train", 0.5}});
}

}  // namespace tandem::testing
