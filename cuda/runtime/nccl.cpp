// Loading of NCCL.
#include "tandem/cuda/runtime/nccl.h"

#include <cstdlib>
#include <string_view>

#ifdef TANDEM_CUDA_SIMULATED
#include "tandem/cuda/simulator/nccl.h"
#else
#include <dlfcn.h>
#endif

namespace tandem::cuda {
namespace {

// 22809 is 2.28.9.
std::string version_text(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

#ifdef TANDEM_CUDA_SIMULATED
// The stand-in is part of the library.
void load(Nccl& made, const char*) {
  made.call = simulator::nccl_functions();
}
#else
// Calls f(function, name) for each function of the table.
template <class F>
void for_each_function(NcclFunctions& table, F&& f) {
#define TANDEM_NCCL_FUNCTION(name) f(table.name, #name)
  TANDEM_NCCL_FUNCTION(ncclGetVersion);
  TANDEM_NCCL_FUNCTION(ncclGetUniqueId);
  TANDEM_NCCL_FUNCTION(ncclCommInitRankConfig);
  TANDEM_NCCL_FUNCTION(ncclCommGetAsyncError);
  TANDEM_NCCL_FUNCTION(ncclCommFinalize);
  TANDEM_NCCL_FUNCTION(ncclCommDestroy);
  TANDEM_NCCL_FUNCTION(ncclCommAbort);
  TANDEM_NCCL_FUNCTION(ncclGetErrorString);
  TANDEM_NCCL_FUNCTION(ncclGetLastError);
  TANDEM_NCCL_FUNCTION(ncclAllReduce);
  TANDEM_NCCL_FUNCTION(ncclSend);
  TANDEM_NCCL_FUNCTION(ncclRecv);
  TANDEM_NCCL_FUNCTION(ncclGroupStart);
  TANDEM_NCCL_FUNCTION(ncclGroupEnd);
#undef TANDEM_NCCL_FUNCTION
}

void load(Nccl& made, const char* file) {
  void* const library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    made.problem = dlerror();  // begins with the file's name
    return;
  }
  for_each_function(made.call, [&made, library, file]<class Function>(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    if (!function && made.problem.empty())
      made.problem = std::string(file) + " has no " + name + "; NCCL 2.14 or later is needed";
  });
}
#endif

Nccl load_nccl() {
  Nccl made;
  const char* const chosen = std::getenv("TANDEM_NCCL");
  const std::string_view file = chosen ? chosen : "";
  if (file == "off") {
    made.problem = "TANDEM_NCCL is off";
    return made;
  }
  load(made, file.empty() ? "libnccl.so.2" : chosen);
  if (!made.problem.empty()) return made;
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
