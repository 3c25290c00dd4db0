// The dynamic shared memory of the block that runs.
#pragma once
#include <cstddef>
#include <string>

namespace tandem::simulator {

inline constexpr size_t kMaxSharedBytes = 227 * 1024;  // per block, as on sm_90

void start_shared(size_t bytes);  // for a new block: 0xff everywhere
std::string check_shared();       // what the block wrote behind its bytes, or an empty text

}  // namespace tandem::simulator
