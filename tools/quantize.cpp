// quantize: rounds weights to 8 bits or fewer, and scores what that costs in bits per character. It is quantize_main() of tools/run/programs.h.
#include "tandem/tools/run/programs.h"

int main(int argc, char** argv) {
  return tandem::quantize_main(argc, argv);
}
