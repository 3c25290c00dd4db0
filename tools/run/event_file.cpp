// The few protobuf messages of event files, written by hand: a field is its key, number << 3 | type, and its value.
#include "tandem/tools/run/event_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>

#include "tandem/core/atomic_file.h"
#include "tandem/core/check.h"

namespace tandem {
namespace {

enum Type : uint64_t { kVarint = 0, kEightBytes = 1, kBytes = 2, kFourBytes = 5 };

// Numbers of the fields that are written, by message.
namespace event {
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7, kSource = 10;
}
namespace value {  // of Summary, whose field 1 they are
constexpr int kTag = 1, kSimpleValue = 2, kHistogram = 5, kTensor = 8, kMetadata = 9;
}
namespace metadata {
constexpr int kPlugin = 1, kPluginName = 1, kDataClass = 4, kTensorClass = 2;
}
namespace histogram_proto {
constexpr int kMin = 1, kMax = 2, kNum = 3, kSum = 4, kSumSquares = 5, kLimits = 6, kBuckets = 7;
}
namespace tensor {
constexpr int kDType = 1, kShape = 2, kStrings = 8, kString = 7;
}

constexpr uint64_t kSessionStart = 1;

template <class T>
std::string little_endian(T number) {
  static_assert(std::endian::native == std::endian::little);
  std::string bytes(sizeof number, '\0');
  std::memcpy(bytes.data(), &number, sizeof number);
  return bytes;
}

std::string varint(uint64_t number) {
  std::string bytes;
  for (; number >= 0x80; number >>= 7) bytes += static_cast<char>((number & 0x7f) | 0x80);
  return bytes + static_cast<char>(number);
}

std::string key(int field, Type type) {
  return varint(static_cast<uint64_t>(field) << 3 | type);
}

std::string number_field(int field, uint64_t number) {
  return key(field, kVarint) + varint(number);
}
std::string double_field(int field, double number) {
  return key(field, kEightBytes) + little_endian(number);
}
std::string bytes_field(int field, std::string_view bytes) {
  return key(field, kBytes) + varint(bytes.size()) + std::string(bytes);
}
std::string doubles_field(int field, const std::vector<double>& numbers) {
  std::string packed;
  for (const double number : numbers) packed += little_endian(number);
  return bytes_field(field, packed);
}

// Returns the field `summary` of an event with one value of this tag.
std::string summary_of(const std::string& tag, const std::string& content) {
  return bytes_field(event::kSummary, bytes_field(1, bytes_field(value::kTag, tag) + content));
}

double seconds_since_epoch() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "host";
}

}  // namespace

uint32_t masked_crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> remainders{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t remainder = i;
      for (int bit = 0; bit < 8; ++bit) remainder = remainder >> 1 ^ (remainder & 1 ? 0x82F63B78u : 0u);
      remainders[i] = remainder;
    }
    return remainders;
  }();
  uint32_t crc = 0xFFFFFFFFu;
  for (const char byte : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<uint8_t>(byte)) & 0xFF];
  return std::rotr(~crc, 15) + 0xA282EAD8u;
}

Histogram Histogram::of(const std::vector<float>& values) {
  constexpr size_t kRanges = 30;
  Histogram result;
  bool any = false;
  for (const float value : values) {
    if (!std::isfinite(value)) continue;
    result.least = any ? std::min<double>(result.least, value) : value;
    result.largest = any ? std::max<double>(result.largest, value) : value;
    any = true;
  }
  if (!any) return result;
  const double width = (result.largest - result.least) / static_cast<double>(kRanges);
  const size_t ranges = width > 0 ? kRanges : 1;
  for (size_t i = 1; i < ranges; ++i) result.limits.push_back(result.least + width * static_cast<double>(i));
  result.limits.push_back(result.largest);
  result.counts.resize(ranges);
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    result.sum += value;
    result.sum_of_squares += value * value;
    const auto limit = std::lower_bound(result.limits.begin(), result.limits.end() - 1, value);
    ++result.counts[static_cast<size_t>(limit - result.limits.begin())];
  }
  return result;
}

EventFile::EventFile(const std::filesystem::path& folder, int64_t first_step) {
  static std::atomic<int> count = 0;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  TANDEM_CHECK(!error, "{}: cannot be made: {}", folder.string(), error.message());
  path_ = (folder / fmt::format("events.out.tfevents.{:010.0f}.{}.{}.{}", std::floor(seconds_since_epoch()),
                                host_name(), getpid(), count++))
              .string();
  file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  TANDEM_CHECK(file_ >= 0, "{}: cannot be written: {}", path_, std::strerror(errno));
  write_event(0, bytes_field(event::kFileVersion, "brain.Event:2") +
                     bytes_field(event::kSource, bytes_field(1, "tandem")));
  write_event(first_step, bytes_field(event::kSessionLog, number_field(1, kSessionStart)));
}

EventFile::~EventFile() {
  ::close(file_);
}

void EventFile::write_event(int64_t step, const std::string& content) {
  const std::string data = double_field(event::kWallTime, seconds_since_epoch()) +
                           number_field(event::kStep, static_cast<uint64_t>(step)) + content;
  const std::string length = little_endian<uint64_t>(data.size());
  const std::string record =
      length + little_endian(masked_crc32c(length)) + data + little_endian(masked_crc32c(data));
  TANDEM_CHECK(write_fully(file_, record.data(), record.size()), "{}: cannot be written: {}", path_,
               std::strerror(errno));
}

void EventFile::scalars(int64_t step, const std::vector<std::pair<std::string, double>>& values) {
  std::string summary;
  for (const auto& [tag, number] : values)
    summary += bytes_field(1, bytes_field(value::kTag, tag) + key(value::kSimpleValue, kFourBytes) +
                                  little_endian(static_cast<float>(number)));
  write_event(step, bytes_field(event::kSummary, summary));
}

void EventFile::text(int64_t step, const std::string& tag, const std::string& markdown) {
  const std::string plugin = bytes_field(metadata::kPlugin, bytes_field(metadata::kPluginName, "text"));
  write_event(
      step, summary_of(tag, bytes_field(value::kMetadata,
                                        plugin + number_field(metadata::kDataClass, metadata::kTensorClass)) +
                                bytes_field(value::kTensor, number_field(tensor::kDType, tensor::kString) +
                                                                bytes_field(tensor::kShape, "") +
                                                                bytes_field(tensor::kStrings, markdown))));
}

void EventFile::histogram(int64_t step, const std::string& tag, const Histogram& h) {
  double number = 0;
  for (const double count : h.counts) number += count;
  write_event(step,
              summary_of(tag, bytes_field(value::kHistogram,
                                          double_field(histogram_proto::kMin, h.least) +
                                              double_field(histogram_proto::kMax, h.largest) +
                                              double_field(histogram_proto::kNum, number) +
                                              double_field(histogram_proto::kSum, h.sum) +
                                              double_field(histogram_proto::kSumSquares, h.sum_of_squares) +
                                              doubles_field(histogram_proto::kLimits, h.limits) +
                                              doubles_field(histogram_proto::kBuckets, h.counts))));
}

}  // namespace tandem
