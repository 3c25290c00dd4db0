// serve: answers requests over HTTP with the model of a checkpoint. It is serve_main() of tools/run/programs.h.
#include "tandem/tools/run/programs.h"

int main(int argc, char** argv) {
  return tandem::serve_main(argc, argv);
}
