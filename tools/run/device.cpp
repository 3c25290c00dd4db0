// Choice of device and precision.
#include "tandem/tools/run/device.h"

#include "tandem/core/backend.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"

namespace tandem {
namespace {

// Rates of dense products in TFLOP/s, from data sheets of 2020 to 2024. More specific names come first.
struct Peak {
  const char* name;
  double f32, tf32, bf16;
};
constexpr Peak kPeaks[] = {
    {"H100 PCIe", 51, 378, 756},   {"H100 NVL", 60, 418, 835},   {"H100", 67, 495, 989},
    {"H200 NVL", 60, 418, 835},    {"H200", 67, 495, 989},       {"GH200", 67, 495, 989},
    {"A100", 19.5, 156, 312},      {"L40S", 91.6, 183, 362},     {"L4", 30.3, 60, 121},
    {"RTX 4090", 82.6, 82.6, 165}, {"RTX 3090", 35.6, 35.6, 71},
};

}  // namespace

void add_device_flag(Flags& flags, std::string& device) {
  flags.add("--device", device, "Device to run on; auto takes a GPU if there is one.")
      .one_of({"auto", "cpu", "cuda"})
      .show_default();
}

Device resolve_device(const std::string& asked) {
  if (asked == "cpu") return Device::cpu();
  if (asked == "auto") return best_device();
  TANDEM_CHECK(cuda_status().available, "--device=cuda: {}{}", cuda_status().text,
               kWithCuda ? "" : "; configure it with the CUDA Toolkit, or use --device=cpu");
  return Device::cuda();
}

std::string resolve_precision(const std::string& asked, Device device) {
  if (asked == "auto") return device.is_cuda() || cpu_has_bf16() ? "bf16" : "f32";
  TANDEM_CHECK(asked != "tf32" || device.is_cuda(), "--precision=tf32: only GPUs have it; give f32 or bf16");
  TANDEM_CHECK(asked != "bf16" || device.is_cuda() || cpu_has_bf16(),
               "--precision=bf16: this CPU has no bf16 instructions; leave --precision out, or give f32");
  return asked;
}

double peak_tflops(const std::string& device_name, MatmulPrecision precision) {
  for (const Peak& peak : kPeaks)
    if (device_name.find(peak.name) != std::string::npos)
      return precision == MatmulPrecision::f32    ? peak.f32
             : precision == MatmulPrecision::tf32 ? peak.tf32
                                                  : peak.bf16;
  return 0;
}

}  // namespace tandem
