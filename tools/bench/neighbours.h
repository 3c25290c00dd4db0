// Busy processes beside a measurement: how fast a program is on a machine that others use, too.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "tandem/tools/run/flags.h"

namespace tandem {

// Keeps `count` processes computing while it lives, each of which would use a whole core. They end with this process,
// however that ends. Error: a process cannot be started.
class Neighbours {
 public:
  explicit Neighbours(int64_t count);
  ~Neighbours();
  Neighbours(const Neighbours&) = delete;
  Neighbours& operator=(const Neighbours&) = delete;

 private:
  std::vector<pid_t> processes_;
};

// Adds --neighbours. `count` must outlive the parsing.
void add_neighbours_flag(Flags& flags, int64_t& count);

}  // namespace tandem
