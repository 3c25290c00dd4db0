// Chooses among the programs by the first argument.
#include "tandem/tools/run/programs.h"

#include <fmt/format.h>

#include <functional>
#include <iostream>
#include <string_view>
#include <vector>

#include "tandem/core/utf8.h"
#include "tandem/tools/run/cli.h"

namespace tandem {
namespace {

struct Program {
  const char* name;
  const char* about;
  std::function<int(int argc, char** argv)> run;
};

std::vector<Program> programs(const TrainDefaults& defaults) {
  return {{"train", "trains a language model on a corpus, and resumes a run",
           [&defaults](int argc, char** argv) { return train_main(argc, argv, defaults); }},
          {"evaluate", "scores a text with a trained model", evaluate_main},
          {"generate", "continues a prompt with a trained model", generate_main},
          {"explore", "shows on a page what a trained model does with a text", explore_main},
          {"serve", "answers requests over HTTP with a trained model", serve_main},
          {"prune", "sets the smallest weights of a checkpoint to 0", prune_main},
          {"quantize", "rounds the weights of a checkpoint to few bits", quantize_main},
          {"export", "writes a trained model for programs in PyTorch", export_main}};
}

std::string usage(const std::string& program, const std::vector<Program>& all) {
  std::string text = fmt::format("Usage: {} PROGRAM [ARGUMENTS]; `{} PROGRAM --help` lists the arguments\n\n",
                                 program, program);
  for (const Program& one : all) text += fmt::format("  {:<10} {}\n", one.name, one.about);
  return text;
}

}  // namespace

int programs_main(int argc, char** argv, const TrainDefaults& defaults) {
  constexpr int kWrongUsage = 2;
  const std::string own_name = program_name(argv);
  const std::vector<Program> all = programs(defaults);
  const std::string_view chosen = argc > 1 ? argv[1] : "";
  if (chosen == "--help" || chosen == "-h") {
    std::cout << usage(own_name, all) << std::flush;
    return std::cout ? 0 : 1;
  }
  for (const Program& one : all) {
    if (chosen != one.name) continue;
    std::string name = fmt::format("{} {}", own_name, chosen);
    std::vector<char*> arguments(argv + 1, argv + argc);
    arguments[0] = name.data();
    arguments.push_back(nullptr);
    return one.run(argc - 1, arguments.data());
  }
  const std::string wrong = chosen.empty() ? "no program is named" : printable(chosen) + " is no program";
  std::cerr << fmt::format("error: {}: {}\n{}", own_name, wrong, usage(own_name, all));
  return kWrongUsage;
}

}  // namespace tandem
