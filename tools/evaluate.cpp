// evaluate: computes the bits per character, or the perplexity, of a model over a text. It is evaluate_main() of tools/run/programs.h.
#include "tandem/tools/run/programs.h"

int main(int argc, char** argv) {
  return tandem::evaluate_main(argc, argv);
}
