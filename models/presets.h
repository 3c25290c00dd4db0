// Presets: the published sizes and training recipes by name, and `laptop`, the default where there is no GPU.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

// How a model is trained. Batch and unroll are of one optimizer step; the memory is as long as the unroll.
struct Recipe {
  int64_t batch_size = 0;       // rows, all devices together
  int64_t unroll = 0;           // time steps a segment
  int64_t accumulate = 1;       // segments whose gradients are averaged into one update
  int64_t eval_window = 0;      // segment length in evaluation; window + 1 keys are visible
  int64_t eval_batch_size = 0;  // rows in evaluations during training; the last one uses 1
  std::string optimizer = "radam";
  double lr = 0;
  int64_t warmup = 0;  // updates
  int64_t steps = 0;   // updates
  double weight_decay = 0.1;
  double clip = 1.0;  // global gradient norm
  int64_t eval_every = 8000;
  int64_t eval_bytes = 0;  // of the dev split, scored by evaluations during training; 0: all of it
};

struct Preset {
  std::string name;
  std::string model_config;  // JSON for make_model(), without the vocabulary
  Recipe recipe;
  std::string about;  // one line: whose numbers these are
};

// "laptop", "txl-matched", "base", "large", "large-ratio8", "sru"; an SRU++ name may end in "-k2", "-k5",
// "-k10" (attention every k layers) or "-k0" (none). Error: an unknown name; the known ones are listed.
Preset preset(const std::string& name);
std::vector<std::string> preset_names();

}  // namespace tandem
