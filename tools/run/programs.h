// The programs as functions, for a main of one's own. Such a program knows the models that it registers
// (tandem/models/registry.h) beside Tandem's, with all flags, presets, --resume, metrics and samples:
//
//     #include "tandem/tools/run/programs.h"
//
//     int main(int argc, char** argv) {
//       return tandem::programs_main(argc, argv, {.model = "mingru"});
//     }
//
// Each function takes the arguments of main(), is called once and returns the exit code: 0 done (or --help), 1 failure,
// 2 wrong usage, 3 stopped by a signal. Errors are printed on stderr, and none is thrown.
#pragma once
#include <string>

namespace tandem {

// The model and the preset that train takes without the flags --model and --preset.
struct TrainDefaults {
  std::string model = "srupp";
  std::string preset = "laptop";
};

// Trains a language model on a corpus, from a preset, in a folder of the run.
int train_main(int argc, char** argv, const TrainDefaults& defaults = {});
// Scores a text with the model of a checkpoint.
int evaluate_main(int argc, char** argv);
// Continues a prompt with the model of a checkpoint.
int generate_main(int argc, char** argv);
// Writes a page about what the model of a checkpoint does with a text.
int explore_main(int argc, char** argv);
// Answers requests over HTTP with the model of a checkpoint, until a signal stops it.
int serve_main(int argc, char** argv);
// Sets the smallest weights of a checkpoint to 0, in steps, with fine-tuning after each.
int prune_main(int argc, char** argv);
// Rounds the weights of a checkpoint to few bits.
int quantize_main(int argc, char** argv);
// Writes the model of a checkpoint in the layout of the SRU++ authors, or as a folder for Hugging Face's transformers.
int export_main(int argc, char** argv);

// Runs the function that the first argument names: train, evaluate, generate, explore, serve, prune, quantize or export.
// --help lists them.
int programs_main(int argc, char** argv, const TrainDefaults& defaults = {});

}  // namespace tandem
