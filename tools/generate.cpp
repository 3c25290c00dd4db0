// generate: lets a model continue a prompt, byte by byte or word by word, on the standard output. It is generate_main() of tools/run/programs.h.
#include "tandem/tools/run/programs.h"

int main(int argc, char** argv) {
  return tandem::generate_main(argc, argv);
}
