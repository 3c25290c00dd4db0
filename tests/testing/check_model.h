// check_model: the checks that every language model passes, Tandem's own as well as those of other projects. A model is named
// by a small configuration, the JSON that make_model() takes; it must be registered (tandem/models/registry.h) and have the
// fields of TokenConfig, because the checks set "vocabulary" and "dtype".
//
//     check_model(R"({"model": "mingru", "d": 16, "layers": 2})").require();   // Error: a check failed; it says which
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tandem/testing/report.h"

namespace tandem::testing {

inline constexpr int64_t kSmallVocabulary = 11;  // the checks set it

struct ModelChecks {
  bool on_gpu = true;  // false: only the CPU is used, for models with operators that have no GPU kernel
};

// Runs all checks below. It takes seconds, for sizes such as that of the example.
Report check_model(const std::string& config, const ModelChecks& checks = {});
// Runs them on several configurations of one model; a field of dropout need matter in one of them only.
Report check_model_configs(const std::vector<std::string>& configs, const ModelChecks& checks = {});

// Its configuration makes the same model again, and keeps the values that were given.
Report check_model_config(const std::string& config);
// It learns one batch by heart.
Report check_model_overfits(const std::string& config);
// Segments with a long memory give the losses of one long pass, and leave the same state. For models that carry state.
Report check_model_segments(const std::string& config);
// Its decoder gives the logits of evaluation, while the memory fills and after, on every device.
Report check_model_decoder(const std::string& config, const ModelChecks& checks = {});
// Texts that join a running batch and leave it get the logits that each has alone, with their prompts read in pieces, while
// the memory fills and after, on every device.
Report check_model_rows(const std::string& config, const ModelChecks& checks = {});
// In f32 on the CPU these logits are the same bits as alone, if prompts are read in the same pieces: so few rows are summed in
// one order. Not every model need have this property, so check_model() leaves it out.
Report check_model_rows_exactly(const std::string& config);
// Recomputation gives the same loss and gradients, with dropout too.
Report check_model_recompute(const std::string& config);
// Dropout changes training passes only, and by its key. Of each field whose name ends in "dropout", notes in `matters`
// under "MODEL's FIELD" whether it changes a pass: it need not in every configuration, but in one.
Report check_model_dropout(const std::string& config, std::map<std::string, bool>& matters);
// In bf16 losses, gradients and generation are near those in f32, on every device that has bf16.
Report check_model_bf16(const std::string& config, const ModelChecks& checks = {});
// A text goes on from a copy of its state, and from no other.
Report check_model_state(const std::string& config);
// A compacted state gives the next segment the same bits. Adds to `compacted` the number of parts that were rounded.
Report check_model_compact_state(const std::string& config, int64_t& compacted);
// Every parameter has a gradient, the same on every device.
Report check_model_gradients(const std::string& config, const ModelChecks& checks = {});
// A Trainer that stops and goes on from its checkpoint takes the same steps bit for bit, with the state, dropout and the
// moments of this optimizer.
Report check_model_resume(const std::string& config, const std::string& optimizer);
// Checks this with every optimizer.
Report check_model_resume(const std::string& config);

}  // namespace tandem::testing
