// Marks what a profiler that is attached is to record.
#pragma once

namespace tandem::cuda {

// While it lives, tools that were told to wait for it record the device's work: `ncu --profile-from-start off`,
// `nsys profile --capture-range=cudaProfilerApi`. Without such a tool it does nothing but wait for the device at its end.
class ProfiledRange {
 public:
  ProfiledRange();
  ~ProfiledRange();
  ProfiledRange(const ProfiledRange&) = delete;
  ProfiledRange& operator=(const ProfiledRange&) = delete;
};

}  // namespace tandem::cuda
