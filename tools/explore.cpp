// explore: shows on a page what a model does with a text. It is explore_main() of tools/run/programs.h.
#include "tandem/tools/run/programs.h"

int main(int argc, char** argv) {
  return tandem::explore_main(argc, argv);
}
