// metrics.jsonl: one JSON object a line for every step and every evaluation of a run.
#pragma once
#include <fstream>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace tandem {

class MetricsLog {
 public:
  // Appends to `path`. First drops the lines of steps after `last_step`: a killed run may have written them
  // after its last checkpoint, and the resumed run writes them again. Error: the file cannot be read or
  // written.
  MetricsLog(std::string path, int64_t last_step);

  // Writes a line and flushes it, so that a killed process loses none. Error: writing fails.
  void write(const nlohmann::ordered_json& line);

 private:
  std::string path_;
  std::ofstream file_;
};

// Returns the peak resident memory of this process in bytes; 0 if the system does not tell.
int64_t peak_resident_bytes();

}  // namespace tandem
