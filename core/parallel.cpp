// The number of threads, which is that of OpenMP, so that its variables and functions hold for Tandem's loops, too.
#include "tandem/core/parallel.h"

#include <omp.h>

namespace tandem::cpu {

int max_threads() {
  return omp_get_max_threads();
}

}  // namespace tandem::cpu
