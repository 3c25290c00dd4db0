// run.json: what the metrics of a run do not tell, for tools/report: how the run was started, what it is and what a step
// costs.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "tandem/models/training/trainer.h"

namespace tandem {

// Returns the FLOPs a token that the model needs in training: three times those of its forward pass, and once those of
// its teacher's, if it has one. Recomputation and masked pairs do not count.
double training_flops_per_token(const LanguageModel& model, const Recipe& recipe,
                                const LanguageModel* teacher);
double training_flops_per_token(const Trainer& trainer);

// Writes run.json in the folder of a run that begins or goes on now. The starts that the file knows already stay in it.
// Error: it cannot be written.
void write_run_facts(const std::filesystem::path& folder, const Trainer& trainer,
                     const std::vector<std::string>& command);

}  // namespace tandem
