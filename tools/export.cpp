// export: writes a trained model for programs in PyTorch. It is export_main() of tools/run/programs.h.
#include "tandem/tools/run/programs.h"

int main(int argc, char** argv) {
  return tandem::export_main(argc, argv);
}
