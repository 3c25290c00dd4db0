// A reader of TensorBoard's event files for tests: checks frames and checksums, and reads the messages that Tandem writes.
#pragma once
#include <doctest/doctest.h>

#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tandem/tools/run/event_file.h"
#include "tests/support/files.h"

namespace tandem::testing {

struct Event {
  double wall_time = 0;
  int64_t step = 0;
  std::string file_version, plugin;
  int64_t session_status = 0;
  std::map<std::string, float> scalars;
  std::map<std::string, std::string> texts;
  std::map<std::string, Histogram> histograms;
};

template <class T>
T number_at(std::string_view bytes, size_t at = 0) {
  T number{};
  REQUIRE(at + sizeof number <= bytes.size());
  std::memcpy(&number, bytes.data() + at, sizeof number);
  return number;
}

// One field of a protobuf message.
struct ProtoField {
  int number = 0;
  uint64_t integer = 0;    // of type 0
  std::string_view bytes;  // of all other types
};

inline uint64_t take_varint(std::string_view& rest) {
  uint64_t number = 0;
  for (int shift = 0;; shift += 7) {
    REQUIRE(!rest.empty());
    REQUIRE(shift < 64);
    const auto byte = static_cast<uint8_t>(rest.front());
    rest.remove_prefix(1);
    number |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return number;
  }
}

inline std::vector<ProtoField> fields_of(std::string_view message) {
  std::vector<ProtoField> fields;
  while (!message.empty()) {
    const uint64_t key = take_varint(message);
    ProtoField field;
    field.number = static_cast<int>(key >> 3);
    const uint64_t type = key & 7;
    if (type == 0) {
      field.integer = take_varint(message);
    } else {
      REQUIRE((type == 1 || type == 2 || type == 5));
      const uint64_t size = type == 1 ? 8 : type == 5 ? 4 : take_varint(message);
      REQUIRE(size <= message.size());
      field.bytes = message.substr(0, size);
      message.remove_prefix(size);
    }
    fields.push_back(field);
  }
  return fields;
}

inline std::vector<double> doubles_of(std::string_view packed) {
  std::vector<double> numbers;
  for (size_t at = 0; at < packed.size(); at += 8) numbers.push_back(number_at<double>(packed, at));
  return numbers;
}

inline Histogram histogram_of(std::string_view message) {
  Histogram h;
  for (const ProtoField& field : fields_of(message)) {
    if (field.number == 1) h.least = number_at<double>(field.bytes);
    if (field.number == 2) h.largest = number_at<double>(field.bytes);
    if (field.number == 4) h.sum = number_at<double>(field.bytes);
    if (field.number == 5) h.sum_of_squares = number_at<double>(field.bytes);
    if (field.number == 6) h.limits = doubles_of(field.bytes);
    if (field.number == 7) h.counts = doubles_of(field.bytes);
  }
  return h;
}

inline void read_value(std::string_view message, Event& event) {
  std::string tag;
  for (const ProtoField& field : fields_of(message)) {
    if (field.number == 1) tag = field.bytes;
    if (field.number == 2) event.scalars[tag] = number_at<float>(field.bytes);
    if (field.number == 5) event.histograms[tag] = histogram_of(field.bytes);
    if (field.number == 9) event.plugin = fields_of(fields_of(field.bytes).at(0).bytes).at(0).bytes;
    if (field.number == 8)
      for (const ProtoField& part : fields_of(field.bytes)) {
        if (part.number == 1) CHECK(part.integer == 7);  // strings
        if (part.number == 8) event.texts[tag] = part.bytes;
      }
  }
}

// Returns the events of a file. A record that is cut off or does not match its checksums fails the test.
inline std::vector<Event> read_events(const std::string& path) {
  const std::string content = read_text(path);
  std::vector<Event> events;
  for (size_t at = 0; at < content.size();) {
    const std::string_view rest = std::string_view(content).substr(at);
    const auto length = number_at<uint64_t>(rest);
    REQUIRE(length + 16 <= rest.size());
    CHECK(number_at<uint32_t>(rest, 8) == masked_crc32c(rest.substr(0, 8)));
    const std::string_view data = rest.substr(12, length);
    CHECK(number_at<uint32_t>(rest, 12 + length) == masked_crc32c(data));
    Event event;
    for (const ProtoField& field : fields_of(data)) {
      if (field.number == 1) event.wall_time = number_at<double>(field.bytes);
      if (field.number == 2) event.step = static_cast<int64_t>(field.integer);
      if (field.number == 3) event.file_version = field.bytes;
      if (field.number == 7)
        event.session_status = static_cast<int64_t>(fields_of(field.bytes).at(0).integer);
      if (field.number == 5)
        for (const ProtoField& value : fields_of(field.bytes)) read_value(value.bytes, event);
    }
    events.push_back(event);
    at += length + 16;
  }
  return events;
}

}  // namespace tandem::testing
