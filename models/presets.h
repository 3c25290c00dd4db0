// Presets: the published sizes and training recipes of each model by name, and `laptop`, the default.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

// How a model is trained. Batch and unroll are of one optimizer step.
struct Recipe {
  int64_t batch_size = 0;       // rows, all devices together
  int64_t unroll = 0;           // time steps a segment
  int64_t accumulate = 1;       // segments whose gradients are averaged into one update
  int64_t memory = -1;          // rows of the past that attention looks back on; -1: as many as unroll
  int64_t eval_window = 0;      // segment length in evaluation
  int64_t eval_memory = -1;     // -1: as many as eval_window
  int64_t eval_clamp = 0;       // largest relative distance told apart in evaluation; 0: no limit
  int64_t eval_batch_size = 0;  // rows in evaluations during training; the last one uses 1
  std::string optimizer = "radam";
  std::string schedule = "cosine";  // its numbers up to `cycle_shrink`: models/training/schedule.h
  double lr = 0;
  double lr_floor = 0;
  int64_t warmup = 0;  // updates
  int64_t steps = 0;   // updates
  int64_t noam_width = 0;
  int64_t cycle = 0;
  double cycle_growth = 1, cycle_shrink = 1;
  double weight_decay = 0.1;
  double clip = 1.0;  // global gradient norm
  int64_t eval_every = 8000;
  int64_t eval_bytes = 0;  // of the dev split, scored by evaluations during training; 0: all of it
};

struct Preset {
  std::string model;  // its kind, as in the registry
  std::string name;
  std::string model_config;  // JSON for make_model(), without the vocabulary
  Recipe recipe;
  std::string about;  // one line: whose numbers these are
};

// Ours, for gcide on a machine of two cores, in about five minutes: by RAdam, as the authors of SRU++ train;
// and by AdamW, for models made of attention.
Recipe laptop_recipe(double lr, int64_t steps);
Recipe laptop_attention_recipe(double lr);

// Sizes and recipe `name` of a model. Every model has "laptop"; an SRU++ name may end in "-k2", "-k5", "-k10"
// (attention every k layers) or "-k0" (none). Error: an unknown model or name; the known ones are listed.
Preset preset(const std::string& model, const std::string& name);
// Error: an unknown model.
bool has_preset(const std::string& model, const std::string& name);
// What `name` means for a corpus: where a model has sizes of its own for it, "wt103-base" for "base" of
// WikiText-103, these.
std::string preset_for_corpus(const std::string& model, const std::string& name, const std::string& corpus);
std::vector<std::string> preset_names(const std::string& model);

// The tables, each beside its model.
std::vector<Preset> srupp_presets();
std::vector<Preset> sru_presets();
std::vector<Preset> lstm_presets();
std::vector<Preset> qrnn_presets();
std::vector<Preset> sha_rnn_presets();  // and SHAQ's
std::vector<Preset> transformer_presets();
std::vector<Preset> evolved_transformer_presets();
std::vector<Preset> stack_presets();

}  // namespace tandem
