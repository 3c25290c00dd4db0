// mingru train|evaluate|generate|prune|quantize|export: the programs, with this project's model beside Tandem's.
#include "tandem/tools/run/programs.h"

int main(int argc, char** argv) {
  return tandem::programs_main(argc, argv, {.model = "mingru"});
}
