// Device: the place of a tensor's memory, the host or a CUDA device.
#pragma once
#include <string>

namespace tandem {

class Device {
 public:
  constexpr Device() = default;  // the CPU
  static constexpr Device cpu() { return Device(); }
  static constexpr Device cuda(int index = 0) { return Device(index); }

  constexpr bool is_cpu() const { return index_ < 0; }
  constexpr bool is_cuda() const { return index_ >= 0; }
  constexpr int index() const { return index_; }  // the CUDA device's number; -1 for the CPU
  std::string str() const { return is_cpu() ? "cpu" : "cuda:" + std::to_string(index_); }

  friend constexpr bool operator==(Device, Device) = default;

 private:
  constexpr explicit Device(int index) : index_(index) {}
  int index_ = -1;
};

}  // namespace tandem
