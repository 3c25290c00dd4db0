// The configuration of a run as a file for train --config.
#pragma once
#include <string>

#include "tandem/models/training/run_config.h"
#include "tandem/tools/run/flags.h"

namespace tandem {

// Returns TOML that gives every flag with which train begins this run anew, on any machine: its corpus, preset, recipe and
// all fields of its model, and of the flags that were given those that concern this machine alone, such as --device.
// Error: a text, such as a path with a #, that CLI11 would not read as it is.
std::string config_text(const RunConfig& config, const Flags& flags);

}  // namespace tandem
