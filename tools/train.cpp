// train: trains a language model on a corpus, from a preset, and scores it on text that it has not seen. It is train_main() of tools/run/programs.h.
#include "tandem/tools/run/programs.h"

int main(int argc, char** argv) {
  return tandem::train_main(argc, argv);
}
