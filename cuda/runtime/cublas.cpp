// Loading of cuBLASLt. The simulator has its functions in the program.
#include "tandem/cuda/runtime/cublas.h"

#include "tandem/cuda/runtime/library.h"

namespace tandem::cuda {

const CublasFunctions& cublas() {
#ifdef TANDEM_CUDA_SIMULATED
#define TANDEM_TAKE(name) &::name,
  static const CublasFunctions functions{TANDEM_CUBLAS_FUNCTIONS(TANDEM_TAKE)};
#else
#define TANDEM_FIND(name) find_function(found.name, library, "cuBLASLt", #name);
  static const CublasFunctions functions = [] {
    void* const library =
        load_library("cuBLASLt", {"libcublasLt.so." TANDEM_TEXT(CUBLAS_VER_MAJOR), TANDEM_CUBLASLT_FILE});
    CublasFunctions found{};
    TANDEM_CUBLAS_FUNCTIONS(TANDEM_FIND)
    return found;
  }();
#endif
  return functions;
}

}  // namespace tandem::cuda
