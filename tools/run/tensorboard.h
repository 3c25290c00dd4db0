// --tensorboard writes the rows of the metrics of a run, and histograms of its tensors.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tandem/models/named_tensor.h"
#include "tandem/tools/run/event_file.h"

namespace tandem {

// Writes a row of the metrics: of a step its numbers as train/NAME, of evaluations as dev/NAME and test/NAME, shares of <unk>
// as unknown/SPLIT, and samples as text. Rows of MetricsLog's kAtStop are left out: a run that goes on has no such points.
void write_row(EventFile& file, const nlohmann::ordered_json& row);

// Writes a histogram of each tensor as GROUP/NAME.
void write_histograms(EventFile& file, int64_t step, const std::string& group,
                      const std::vector<NamedTensor>& tensors);

}  // namespace tandem
