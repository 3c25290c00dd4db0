// The instructions of a warp, put together from the accesses of its lanes.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "access_log.h"
#include "device_code.h"

namespace tandem::simulator {

// One access of some lanes of a warp, at the same place in the code.
struct WarpAccess {
  int lanes = 0;  // that take part
  std::array<uintptr_t, warpSize> addresses;
  uint16_t bytes = 0;  // of each lane
  bool write = false;
};

// The logs of a warp's lanes. Accesses of two lanes belong to one instruction if both are the n-th that their lane makes
// at that place since all lanes last waited or began.
//
// Lanes that leave out turns of a loop are taken to leave out its last ones. A GPU may join them in another way, and
// then has other sectors and bank conflicts; the bytes are the same.
class WarpAccesses {
 public:
  AccessLog& of(int lane) { return logs_[static_cast<size_t>(lane)]; }

  // Calls f(WarpAccess) for each instruction, and forgets them all.
  template <class F>
  void take(const F& f) {
    lanes_.clear();
    for (AccessLog& log : logs_)
      if (!log.empty()) lanes_.push_back(&log);
    if (lanes_.empty()) return;
    const size_t together = shared_prefix();
    WarpAccess access;
    for (size_t i = 0; i < together; ++i) {
      start(access, (*lanes_[0])[i]);
      for (const AccessLog* log : lanes_) add(access, (*log)[i]);
      f(access);
    }
    sort_rest(together);
    for (size_t i = 0; i < rest_.size(); ++i) {
      if (i == 0 || !rest_[i].same_instruction(rest_[i - 1])) {
        if (i > 0) f(access);
        start(access, rest_[i].access);
      }
      add(access, rest_[i].access);
    }
    if (!rest_.empty()) f(access);
    for (AccessLog* log : lanes_) log->clear();
  }

 private:
  struct Numbered {
    Access access;
    uint32_t lane, number;  // of the visits of this lane to the place
    bool same_instruction(const Numbered& other) const;
  };

  static void start(WarpAccess& access, const Access& of) {
    access.lanes = 0;
    access.bytes = of.bytes;
    access.write = of.write;
  }
  static void add(WarpAccess& access, const Access& of) {
    access.addresses[static_cast<size_t>(access.lanes++)] = of.address;
  }
  // Returns how many first accesses are the same instructions in all lanes.
  size_t shared_prefix() const;
  // Fills in rest_ with the accesses from the given one on, instruction by instruction.
  void sort_rest(size_t from);

  std::array<AccessLog, warpSize> logs_;
  std::vector<AccessLog*> lanes_;  // of those that have accesses
  std::vector<Numbered> rest_;
};

}  // namespace tandem::simulator
