// Loading of NCCL.
#include "tandem/cuda/runtime/nccl.h"

#include <cstdlib>
#include <string_view>

#include "tandem/core/error.h"
#ifdef TANDEM_CUDA_SIMULATED
#include "tandem/cuda/simulator/nccl.h"
#else
#include "tandem/cuda/runtime/library.h"
#endif

namespace tandem::cuda {
namespace {

// 22809 is 2.28.9.
std::string version_text(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

// Error: the file cannot be loaded, or has not all functions.
NcclFunctions load([[maybe_unused]] const char* file) {
#ifdef TANDEM_CUDA_SIMULATED
  return simulator::nccl_functions();  // the stand-in is part of the library
#else
  void* const library = load_library("NCCL", {file});
  NcclFunctions found;
#define TANDEM_FIND(name) find_function(found.name, library, "NCCL", #name)
  TANDEM_FIND(ncclGetVersion);
  TANDEM_FIND(ncclGetUniqueId);
  TANDEM_FIND(ncclCommInitRankConfig);
  TANDEM_FIND(ncclCommGetAsyncError);
  TANDEM_FIND(ncclCommFinalize);
  TANDEM_FIND(ncclCommDestroy);
  TANDEM_FIND(ncclCommAbort);
  TANDEM_FIND(ncclGetErrorString);
  TANDEM_FIND(ncclGetLastError);
  TANDEM_FIND(ncclAllReduce);
  TANDEM_FIND(ncclSend);
  TANDEM_FIND(ncclRecv);
  TANDEM_FIND(ncclGroupStart);
  TANDEM_FIND(ncclGroupEnd);
#undef TANDEM_FIND
  return found;
#endif
}

Nccl load_nccl() {
  Nccl made;
  const char* const chosen = std::getenv("TANDEM_NCCL");
  const std::string_view file = chosen ? chosen : "";
  if (file == "off") {
    made.problem = "TANDEM_NCCL is off";
    return made;
  }
  try {
    made.call = load(file.empty() ? "libnccl.so.2" : chosen);
  } catch (const Error& error) {
    made.problem = error.what();
    return made;
  }
  int version = 0;
  const ncclResult_t result = made.call.ncclGetVersion(&version);
  if (result != ncclSuccess)
    made.problem = std::string("ncclGetVersion: ") + made.call.ncclGetErrorString(result);
  made.version = version_text(version);
  return made;
}

}  // namespace

const Nccl& nccl() {
  static const Nccl loaded = load_nccl();
  return loaded;
}

}  // namespace tandem::cuda
