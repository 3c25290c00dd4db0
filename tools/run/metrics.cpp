// Metrics on disk, and the resident memory that they report.
#include "tools/run/metrics.h"

#include <sys/resource.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/check.h"

namespace tandem {
namespace {

// Returns the complete lines of steps up to `last_step`, which a resumed run keeps.
std::string kept_lines(const std::string& path, int64_t last_step) {
  std::ifstream in(path);
  CHECK(in.good(), "{}: cannot be read", path);
  std::string kept;
  for (std::string line; std::getline(in, line);) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("step") && json["step"].is_number_integer() &&
        json["step"] <= last_step)
      kept += line + "\n";
  }
  return kept;
}

}  // namespace

MetricsLog::MetricsLog(std::string path, int64_t last_step) : path_(std::move(path)) {
  if (std::filesystem::exists(path_)) write_file_atomically(path_, kept_lines(path_, last_step));
  file_.open(path_, std::ios::app);
  CHECK(file_.good(), "{}: cannot be written", path_);
}

void MetricsLog::write(const nlohmann::ordered_json& line) {
  file_ << line.dump() << '\n' << std::flush;
  CHECK(file_.good(), "{}: writing failed; is the disk full?", path_);
}

int64_t peak_resident_bytes() {
  rusage usage{};
  return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_maxrss * 1024 : 0;  // Linux gives KiB
}

}  // namespace tandem
