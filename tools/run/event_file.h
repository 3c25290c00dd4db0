// Event files of TensorBoard: scalars, texts and histograms by step, which other tools, such as Weights & Biases, import.
//
// A file is a sequence of records: length u64, checksum of these 8 bytes u32, data, checksum of the data u32, all
// little-endian. The data of a record is the protobuf message Event. Sources: record_writer.py, event_file_writer.py and
// compat/proto/{event,summary,histogram,tensor}.proto of tensorflow/tensorboard.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tandem {

// Returns the CRC-32C of bytes (Castagnoli's polynomial, reflected), masked as records have it: rotated right by 15, plus a
// constant, so that the checksum of data that hold checksums is no special one.
uint32_t masked_crc32c(std::string_view bytes);

// How often values fall into each of some ranges.
struct Histogram {
  double least = 0, largest = 0, sum = 0, sum_of_squares = 0;
  std::vector<double> limits;  // upper end of each range, in ascending order
  std::vector<double> counts;  // number of values up to the limit, and above the one before

  // Counts values in ranges of equal width. Values that are not finite do not count. Without any, the result is empty.
  static Histogram of(const std::vector<float>& values);
};

class EventFile {
 public:
  // Begins a new file in `folder`, which it makes if need be. Its name has the time, so that a folder's files are read in
  // the order in which they were begun. Readers then drop what earlier files say of steps from `first_step` on: a resumed
  // run takes those steps anew. Error: it cannot be written.
  EventFile(const std::filesystem::path& folder, int64_t first_step);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  const std::string& path() const { return path_; }

  // Each writes a record, so that a reader of a run that goes on sees it at once. Tags with a / form groups.
  // Error: the file cannot be written.
  void scalars(int64_t step, const std::vector<std::pair<std::string, double>>& values);
  void text(int64_t step, const std::string& tag, const std::string& markdown);
  void histogram(int64_t step, const std::string& tag, const Histogram& histogram);

 private:
  void write_event(int64_t step, const std::string& content);

  std::string path_;
  int file_ = -1;
};

}  // namespace tandem
