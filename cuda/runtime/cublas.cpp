// Loading of cuBLASLt. The simulator has its functions in the program.
#include "tandem/cuda/runtime/cublas.h"

#include "tandem/cuda/runtime/library.h"

namespace tandem::cuda {

const CublasFunctions& cublas() {
#ifdef TANDEM_CUDA_SIMULATED
#define TANDEM_TAKE(name) &::name,
  static const CublasFunctions functions{TANDEM_CUBLAS_FUNCTIONS(TANDEM_TAKE)};
#else
#define TANDEM_TEXT_OF(x) #x
#define TANDEM_TEXT(x) TANDEM_TEXT_OF(x)
#define TANDEM_TAKE(name) reinterpret_cast<decltype(&::name)>(find_function(library, "cuBLASLt", #name)),
  static const CublasFunctions functions = [] {
    void* const library =
        load_library("cuBLASLt", {"libcublasLt.so." TANDEM_TEXT(CUBLAS_VER_MAJOR), TANDEM_CUBLASLT_FILE});
    return CublasFunctions{TANDEM_CUBLAS_FUNCTIONS(TANDEM_TAKE)};
  }();
#endif
  return functions;
}

}  // namespace tandem::cuda
