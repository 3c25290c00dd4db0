// Finds, describes and sets up the device.
#include "tandem/cuda/runtime/context.h"

#include <cstdio>

#include "tandem/core/backend.h"
#include "tandem/cuda/runtime/cublas.h"

namespace tandem::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what NVIDIA advises for Hopper

std::string version_text(int version) {  // 13010 is 13.1
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Context make_context() {
  Context made{};
  TANDEM_CUDA_CHECK(cudaSetDevice(0));
  cudaDeviceProp properties{};
  TANDEM_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  made.multiprocessors = properties.multiProcessorCount;
  made.shared_bytes_per_block = properties.sharedMemPerBlockOptin;
  TANDEM_CUDA_CHECK(cudaStreamCreateWithFlags(&made.compute, cudaStreamNonBlocking));
  TANDEM_CUDA_CHECK(cudaStreamCreateWithFlags(&made.copy, cudaStreamNonBlocking));
  TANDEM_CUBLAS_CHECK(cublas().cublasLtCreate(&made.blas));
  made.workspace_bytes = kWorkspaceBytes;
  TANDEM_CUDA_CHECK(cudaMalloc(&made.workspace, made.workspace_bytes));
  TANDEM_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&made.step_offset), sizeof(uint32_t)));
  TANDEM_CUDA_CHECK(cudaMemsetAsync(made.step_offset, 0, sizeof(uint32_t), made.compute));
  return made;
}

}  // namespace

Context& context() {
  static Context& made = *new Context(make_context());  // never destroyed: tensors of static lifetime need it
  return made;
}

void describe(CudaStatus& status) {
  int driver = 0, runtime = 0, devices = 0;
  cudaRuntimeGetVersion(&runtime);
  cudaDriverGetVersion(&driver);
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess) {
    cudaGetLastError();  // sticks otherwise, and the next call of any kind would report it
    status.text = driver == 0 ? "no NVIDIA driver" : cudaGetErrorString(error);
    return;
  }
  if (devices == 0) {
    status.text = "no CUDA device";
    return;
  }
  cudaDeviceProp properties{};
  const cudaError_t refused = cudaGetDeviceProperties(&properties, 0);
  if (refused != cudaSuccess) {
    cudaGetLastError();
    status.text = cudaGetErrorString(refused);
    return;
  }
  if (properties.major < 8) {
    status.text = std::string(properties.name) + " is of compute capability " +
                  std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                  "; 8.0 is needed";
    return;
  }
  char memory[32];
  std::snprintf(memory, sizeof memory, "%.1f GiB",
                static_cast<double>(properties.totalGlobalMem) / (1 << 30));
  status.available = true;
  status.name = properties.name;
  status.text =
      status.name + ", " + memory + ", driver " + version_text(driver) + ", runtime " + version_text(runtime);
}

void synchronize() {
  TANDEM_CUDA_CHECK(cudaDeviceSynchronize());
}

}  // namespace tandem::cuda
