// metrics.jsonl: one JSON object a line for every step and every evaluation of a run.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <utility>

#include "tandem/models/training/evaluation.h"
#include "tandem/models/training/trainer.h"

namespace tandem {

// Marks the rows that a run writes only because it stopped before its end. A resumed run drops them.
inline constexpr const char* kAtStop = "at_stop";
// Names the reason for which a run ended before its last step, in the rows that it wrote because of that. A run that goes on
// all the same, with more patience, drops them.
inline constexpr const char* kEnd = "end";

class MetricsLog {
 public:
  // Appends to `path`. First drops the lines of steps after `last_step`, which a killed run may have written after its
  // last checkpoint, and those of kAtStop: the resumed run is to have the file of a run that never stopped.
  // Error: the file cannot be read or written.
  MetricsLog(std::string path, int64_t last_step);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  // Writes a line, so that a killed process loses none. Error: writing fails.
  void write(const nlohmann::ordered_json& line);
  // Drops the lines that have this field. Error: the file cannot be read or written.
  void drop(const std::string& field);
  // Waits until all lines are on the disk, so that a power failure loses none of them. Error: it fails.
  void sync();

  // The last of the steps that the file had when it was opened, of those that were kept; 0: none.
  int64_t last_kept_step() const { return last_kept_step_; }
  // Returns whether a row of `step` that is not that of the step itself has the field `name`.
  bool has(int64_t step, const std::string& name) const { return evaluations_.contains({step, name}); }

 private:
  // Rewrites the file without the lines of later steps, those that have this field and those that are not complete, and
  // notes what the others hold.
  void keep_lines(int64_t last_step, const std::string& without);
  std::string kept_lines(int64_t last_step, const std::string& without);
  void note(int64_t step, const nlohmann::json& line);

  std::string path_;
  int file_ = -1;
  int64_t last_kept_step_ = 0;
  std::set<std::pair<int64_t, std::string>>
      evaluations_;  // step and name of the fields of rows without "loss"
};

// Returns the row of a step, which took `ms`.
nlohmann::ordered_json step_row(const StepRecord& record, double ms, TokenUnit level, int64_t memory_bytes);

// Returns the row of an evaluation of "dev" or "test", whose scored tokens stand for so many bytes of text, which are told of
// subwords alone.
nlohmann::ordered_json evaluation_row(int64_t step, const std::string& split, TokenUnit level,
                                      const Evaluation& evaluation, int64_t bytes);

// Returns the peak resident memory of this process in bytes; 0 if the system does not tell.
int64_t peak_resident_bytes();

}  // namespace tandem
