// Stands in for CUDA's header of the same name: between the two calls, statistics() counts launches as profiled.
#pragma once
#include "cuda_runtime_api.h"

extern "C" {
cudaError_t cudaProfilerStart();
cudaError_t cudaProfilerStop();
}
