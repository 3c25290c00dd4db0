// Chooses the device and the precision of a run from its flags; knows the peak rates of GPUs.
#pragma once
#include <string>

#include "tandem/core/device.h"
#include "tandem/ops/gemm/precision.h"
#include "tandem/tools/run/flags.h"

namespace tandem {

// Adds --device. `device` must outlive the parsing.
void add_device_flag(Flags& flags, std::string& device);

// Returns the device for "auto" (a GPU if there is one), "cpu" or "cuda". Error: "cuda", and no GPU can be
// used; the message says why.
Device resolve_device(const std::string& asked);

// Returns the precision for "auto" (bf16 if the device has it, else f32); any other name is returned as it
// is. Error: the device does not have that precision.
std::string resolve_precision(const std::string& asked, Device device);

// Returns the peak rate of dense matrix products of a GPU of this name, in TFLOP/s, by NVIDIA's data sheets;
// 0 if the GPU is not known.
double peak_tflops(const std::string& device_name, MatmulPrecision precision);

}  // namespace tandem
