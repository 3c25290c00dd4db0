// The device and precision of a run, from what the user asked for; and what that device can do at most.
#pragma once
#include <string>

#include "core/device.h"
#include "ops/gemm/precision.h"

namespace CLI {
class App;
}

namespace tandem {

// Adds --device. `device` must outlive the parsing.
void add_device_option(CLI::App& app, std::string& device);

// "auto" (cuda where there is one), "cpu" or "cuda". Error: cuda where it cannot be used, and why.
Device resolve_device(const std::string& asked);

// "auto": bf16 where the device has it, else f32. What the user asked for is never replaced. Error: the
// device does not have it.
std::string resolve_precision(const std::string& asked, Device device);

// What a GPU of this name multiplies matrices at, dense, in TFLOP/s, by NVIDIA's data sheets; 0 where it is
// not known.
double peak_tflops(const std::string& device_name, MatmulPrecision precision);

}  // namespace tandem
