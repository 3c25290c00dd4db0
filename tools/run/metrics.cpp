// Metrics on disk, and the resident memory that they report.
#include "tandem/tools/run/metrics.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "tandem/core/atomic_file.h"
#include "tandem/core/check.h"
#include "tandem/core/json.h"
#include "tandem/models/training/score.h"

namespace tandem {

MetricsLog::MetricsLog(std::string path, int64_t last_step) : path_(std::move(path)) {
  TANDEM_CHECK(!std::filesystem::exists(path_) || std::filesystem::is_regular_file(path_),
               "{}: is not a regular file", path_);
  keep_lines(last_step, kAtStop);
}

MetricsLog::~MetricsLog() {
  ::close(file_);
}

void MetricsLog::keep_lines(int64_t last_step, const std::string& without) {
  if (std::filesystem::exists(path_)) write_file_atomically(path_, kept_lines(last_step, without));
  if (file_ >= 0) ::close(file_);
  file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  TANDEM_CHECK(file_ >= 0, "{}: cannot be written: {}", path_, std::strerror(errno));
}

std::string MetricsLog::kept_lines(int64_t last_step, const std::string& without) {
  std::ifstream in(path_);
  TANDEM_CHECK(in.good(), "{}: cannot be read", path_);
  last_kept_step_ = 0;
  evaluations_.clear();
  std::string kept;
  for (std::string line; std::getline(in, line);) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    const std::optional<int64_t> number =
        json.is_object() && json.contains("step") ? json_as<int64_t>(json["step"]) : std::nullopt;
    if (!number || *number > last_step || json.contains(without)) continue;
    kept += line + "\n";
    if (json.contains("loss"))
      last_kept_step_ = *number;
    else
      note(*number, json);
  }
  TANDEM_CHECK(!in.bad(), "{}: cannot be read to its end: {}; it is left as it is", path_,
               std::strerror(errno));
  return kept;
}

void MetricsLog::note(int64_t step, const nlohmann::json& line) {
  for (const auto& [name, value] : line.items()) evaluations_.emplace(step, name);
}

void MetricsLog::drop(const std::string& field) {
  keep_lines(std::numeric_limits<int64_t>::max(), field);
}

void MetricsLog::write(const nlohmann::ordered_json& line) {
  const std::string text = line.dump() + "\n";
  TANDEM_CHECK(write_fully(file_, text.data(), text.size()),
               "{}: cannot be written: {}; what was written before is whole, and --resume goes on", path_,
               std::strerror(errno));
  if (line.contains("step") && !line.contains("loss")) note(line["step"].get<int64_t>(), line);
}

void MetricsLog::sync() {
  TANDEM_CHECK(fsync(file_) == 0 || errno == EINVAL, "{}: cannot be written to the disk: {}", path_,
               std::strerror(errno));
}

nlohmann::ordered_json step_row(const StepRecord& record, double ms, TokenUnit level, int64_t memory_bytes) {
  return {{"step", record.step},
          {"loss", record.loss},
          {score_name(level), score(level, record.loss)},
          {"lr", record.lr},
          {"gradient_norm", record.gradient_norm},
          {"skipped", record.skipped},
          {"ms", ms},
          {"tokens_per_second", static_cast<double>(record.tokens) / (ms / 1e3)},
          {"memory_bytes", memory_bytes}};
}

nlohmann::ordered_json evaluation_row(int64_t step, const std::string& split, TokenUnit level,
                                      const Evaluation& evaluation, int64_t bytes) {
  nlohmann::ordered_json row = {{"step", step},
                                {split + "_" + score_name(level), score(level, evaluation.mean_nats())},
                                {split + "_nats", evaluation.mean_nats()},
                                {"symbols", evaluation.symbols}};
  if (level == TokenUnit::subword) {
    row[split + "_bpb"] = bits_per_byte(evaluation, bytes);
    row["bytes"] = bytes;
  }
  return row;
}

int64_t peak_resident_bytes() {
  rusage usage{};
  return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_maxrss * 1024 : 0;  // Linux gives KiB
}

}  // namespace tandem
