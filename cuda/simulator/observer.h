// An Observer is told what the simulated GPU does, in the order in which it does it. There is none unless traffic/traffic.h
// counts.
#pragma once
#include <cstddef>

#include "internal.h"
#include "matmul.h"

namespace tandem::simulator {

class Observer {
 public:
  virtual void begin_launch(const Grid& grid) = 0;
  // From now on the code of this lane of the warp runs.
  virtual void enter_lane(int lane) = 0;
  // The lanes of a warp have run until each of them waits or has ended.
  virtual void leave_warp() = 0;
  virtual void end_launch() = 0;

  virtual void copy(const void* to, const void* from, size_t bytes) = 0;
  virtual void fill(void* to, size_t bytes) = 0;
  virtual void multiply(const Matmul& product) = 0;

 protected:
  ~Observer() = default;
};

Observer*& observer();  // null: nobody listens

}  // namespace tandem::simulator
