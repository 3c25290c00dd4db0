// metrics.jsonl: one JSON object a line for every step and every evaluation of a run.
#pragma once
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace tandem {

class MetricsLog {
 public:
  // Appends to `path`. Lines of steps after `last_step` are dropped first: a killed run may have written them
  // after its last checkpoint, and the resumed one writes them again. Error: the file cannot be read or
  // written.
  MetricsLog(std::string path, int64_t last_step);

  // Each line is flushed to the system at once, so that a killed process loses none.
  void write(const nlohmann::ordered_json& line);

 private:
  std::string path_;
  std::ofstream file_;
};

// Of this process, in bytes; 0 where the system does not say.
int64_t peak_resident_bytes();

}  // namespace tandem
