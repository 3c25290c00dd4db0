// prune: sets the smallest weights of a checkpoint to 0, in steps, with fine-tuning after each step. It is prune_main() of tools/run/programs.h.
#include "tandem/tools/run/programs.h"

int main(int argc, char** argv) {
  return tandem::prune_main(argc, argv);
}
