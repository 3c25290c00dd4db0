// The accesses to memory of the thread that runs: hooks.cpp writes them down, warp_accesses.cpp reads them.
#pragma once
#include <cstdint>
#include <vector>

namespace tandem::simulator {

struct Access {
  uintptr_t address;
  uint32_t place;  // names the instruction: the low half of the address behind the hook's call
  uint16_t bytes;
  bool write;
};
using AccessLog = std::vector<Access>;

// The log that this host thread's accesses go to; it is null while the thread runs no kernel that is counted.
extern constinit thread_local AccessLog* access_log;

}  // namespace tandem::simulator
