// Presets: the published sizes and training recipes of each model by name, and `laptop`, the default.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace tandem {

// How a model is trained. One optimizer step reads `accumulate` segments of batch_size x unroll tokens.
struct Recipe {
  int64_t batch_size = 0;    // rows, of all devices together
  int64_t unroll = 0;        // time steps of a segment
  int64_t accumulate = 1;    // segments whose gradients are averaged into one update
  int64_t shards = 1;        // groups of rows, computed apart and added in a fixed order, that ranks share
  int64_t reset_every = 0;   // updates between resets of a column's recurrent state; 0: never
  int64_t memory = -1;       // rows of the past that attention sees; -1: as many as unroll
  int64_t eval_window = 0;   // time steps of a segment in evaluation
  int64_t eval_memory = -1;  // memory in evaluation; -1: as many rows as eval_window
  int64_t eval_clamp = 0;    // largest relative distance in evaluation, for all keys beyond it; 0: no limit
  int64_t eval_batch_size = 0;  // rows in evaluations during training; the final evaluation uses 1
  std::string optimizer = "radam";
  // The schedule's settings are lr to cycle_shrink (models/training/schedule.h).
  std::string schedule = "cosine";
  double lr = 0;
  double lr_floor = 0;
  int64_t warmup = 0;  // updates
  int64_t steps = 0;   // updates
  int64_t noam_width = 0;
  int64_t cycle = 0;
  double cycle_growth = 1, cycle_shrink = 1;
  double weight_decay = 0.1;
  std::string decay = "all";  // or "matrices": weight decay leaves out biases, gains and others of one axis
  double clip = 1.0;          // largest global norm of the gradients
  int64_t eval_every = 8000;
  int64_t eval_bytes = 0;  // bytes of the dev split that evaluations during training score; 0: all
};

struct Preset {
  std::string name;
  std::string model_config;  // JSON for make_model(), without the vocabulary
  Recipe recipe;
  std::string about;  // one line: whose numbers these are
};

// A preset that is not in its model's table but derived from one that is, such as SRU++'s "base-k5".
struct PresetVariant {
  std::string base;                            // name of the preset in the table
  std::function<void(Preset& preset)> derive;  // turns that preset into the variant
};

// How a model derives presets from their names.
struct PresetVariants {
  std::function<std::optional<PresetVariant>(const std::string& name)> parse;  // nullopt: not such a name
  std::string help;  // appended to the list of known presets in error messages
};

// Our recipes for gcide on a machine with two cores, about five minutes of training: with RAdam, as the
// authors of SRU++ train, and with AdamW for models made of attention.
Recipe laptop_recipe(double lr, int64_t steps);
Recipe laptop_attention_recipe(double lr);

// Returns the preset `name` of a model, or the variant that the name stands for. Error: an unknown model or
// name; the known ones are listed.
Preset preset(const std::string& model, const std::string& name);

// Error: an unknown model.
bool has_preset(const std::string& model, const std::string& name);

// Maps a generic preset name to the corpus-specific one if there is one: ("base", wikitext-103) ->
// "wt103-base".
std::string preset_for_corpus(const std::string& model, const std::string& name, const std::string& corpus);

// Returns the names in the model's table. Error: an unknown model.
std::vector<std::string> preset_names(const std::string& model);

}  // namespace tandem
