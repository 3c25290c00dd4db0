// The observer that adds up the accesses of warps by launch.
#include "traffic.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <stdexcept>

#include "internal.h"
#include "observer.h"
#include "touched_bytes.h"
#include "warp_accesses.h"

// The linker's names for the program's variables, among which static __shared__ arrays lie, and dynamic shared memory.
extern "C" char __data_start, _end;

namespace tandem::simulator {
namespace {

constexpr uintptr_t kSector = 32;
constexpr size_t kBanks = 32;
constexpr uintptr_t kWord = 4;  // bytes of a bank

uintptr_t number(const void* address) {
  return reinterpret_cast<uintptr_t>(address);
}

bool is_shared_memory(uintptr_t address) {
  if (address < number(&__data_start) || address >= number(&_end)) return false;
  const auto within = [address](const auto& variable) {
    return address >= number(&variable) && address < number(&variable + 1);
  };
  return !within(threadIdx) && !within(blockIdx) && !within(blockDim) && !within(gridDim);
}

// Collects the different units of `unit` bytes that the lanes touch, in ascending order.
class Units {
 public:
  void collect(const WarpAccess& access, uintptr_t unit) {
    count_ = 0;
    bool ascending = true;
    for (int lane = 0; lane < access.lanes; ++lane) {
      const uintptr_t address = access.addresses[static_cast<size_t>(lane)];
      for (uintptr_t u = address / unit; u <= (address + access.bytes - 1) / unit; ++u) {
        if (count_ > 0 && units_[count_ - 1] == u) continue;
        ascending = ascending && (count_ == 0 || units_[count_ - 1] < u);
        units_[count_++] = u;
      }
    }
    if (ascending) return;
    std::sort(begin(), end());
    count_ = static_cast<size_t>(std::unique(begin(), end()) - begin());
  }
  uintptr_t* begin() { return units_.data(); }
  uintptr_t* end() { return units_.data() + count_; }
  size_t size() const { return count_; }

 private:
  // An access of 16 bytes that is not aligned touches five words.
  std::array<uintptr_t, warpSize * 5> units_;
  size_t count_ = 0;
};

// The bytes of one allocation that a launch has read and written.
struct Region {
  uintptr_t begin, end;
  TouchedBytes read, written;

  Region(uintptr_t begin, size_t size) : begin(begin), end(begin + size), read(size), written(size) {}
  bool holds(uintptr_t address) const { return address >= begin && address < end; }
};

// The allocations that a launch has touched so far.
class Regions {
 public:
  // Returns the region of an address, or null if it is no device memory. The result is good until the next call.
  Region* find(uintptr_t address) {
    if (last_ && last_->holds(address)) return last_;
    // Allocations begin at multiples of 512 bytes: where the first of 512 bytes is none of theirs, all are not.
    const uintptr_t block = address / kBlock;
    uintptr_t& elsewhere = elsewhere_[block % elsewhere_.size()];
    if (elsewhere == block) return nullptr;
    auto it = regions_.upper_bound(address);
    if (it != regions_.begin() && (--it)->second.holds(address)) return last_ = &it->second;
    const auto [first, size] = device_allocation(reinterpret_cast<const void*>(block * kBlock));
    if (!first) {
      elsewhere = block;
      return nullptr;
    }
    last_ = &regions_.try_emplace(number(first), number(first), size).first->second;
    return last_->holds(address) ? last_ : nullptr;
  }
  uint64_t distinct(TouchedBytes Region::*direction) const {
    uint64_t bytes = 0;
    for (const auto& [first, region] : regions_) bytes += (region.*direction).count();
    return bytes;
  }
  void clear() {
    regions_.clear();
    last_ = nullptr;
    elsewhere_.fill(0);
  }

 private:
  static constexpr uintptr_t kBlock = 512;
  std::map<uintptr_t, Region> regions_;
  Region* last_ = nullptr;
  std::array<uintptr_t, 256> elsewhere_{};  // blocks of 512 bytes that are no device memory
};

uint64_t bytes_of(const Matrix& matrix, int64_t rows, int64_t columns, int64_t batch) {
  const int64_t different = matrix.stride == 0 ? 1 : batch;
  return static_cast<uint64_t>(rows * columns * different) * bytes_of(matrix.element);
}

GlobalTraffic once(uint64_t bytes) {
  return {bytes, (bytes + kSector - 1) / kSector, bytes};
}

}  // namespace

GlobalTraffic& GlobalTraffic::operator+=(const GlobalTraffic& other) {
  bytes += other.bytes;
  sectors += other.sectors;
  distinct += other.distinct;
  return *this;
}

KernelTraffic& KernelTraffic::operator+=(const KernelTraffic& other) {
  launches += other.launches;
  read += other.read;
  written += other.written;
  shared_accesses += other.shared_accesses;
  bank_conflicts += other.bank_conflicts;
  return *this;
}

class TrafficCount::Counter final : public Observer {
 public:
  std::vector<KernelTraffic> launches;

  void begin_launch(const Grid& grid) override {
    std::string& name = names_[grid.function];
    if (name.empty()) name = kernel_name(grid.function, *grid.signature);
    launch_ = {.name = name, .launches = 1};
  }
  void enter_lane(int lane) override { access_log = &warp_.of(lane); }
  void leave_warp() override {
    access_log = nullptr;
    warp_.take([this](const WarpAccess& access) { count(access); });
  }
  void end_launch() override {
    launch_.read.distinct = regions_.distinct(&Region::read);
    launch_.written.distinct = regions_.distinct(&Region::written);
    regions_.clear();
    launches.push_back(launch_);
  }

  void copy(const void* to, const void* from, size_t bytes) override {
    const bool writes = place_of(to) == Place::device, reads = place_of(from) == Place::device;
    KernelTraffic copy{.name = writes && reads ? "copy on the device"
                               : writes        ? "copy to device"
                                               : "copy to host",
                       .launches = 1};
    if (reads) copy.read = once(bytes);
    if (writes) copy.written = once(bytes);
    launches.push_back(copy);
  }
  void fill(void*, size_t bytes) override {
    launches.push_back({.name = "fill", .launches = 1, .written = once(bytes)});
  }
  void multiply(const Matmul& p) override {
    KernelTraffic product{
        .name = "product " + std::to_string(p.m) + "x" + std::to_string(p.n) + "x" + std::to_string(p.k),
        .launches = 1};
    if (p.batch > 1) product.name += " of a batch of " + std::to_string(p.batch);
    product.read += once(bytes_of(p.a, p.m, p.k, p.batch));
    product.read += once(bytes_of(p.b, p.k, p.n, p.batch));
    if (p.beta != 0) product.read += once(bytes_of(p.c, p.m, p.n, p.batch));
    if (p.bias) product.read += once(static_cast<uint64_t>(p.m) * bytes_of(p.d.element));
    product.written = once(bytes_of(p.d, p.m, p.n, p.batch));
    launches.push_back(product);
  }

 private:
  void count(const WarpAccess& access) {
    if (Region* region = regions_.find(access.addresses[0]))
      count_global(access, region);
    else if (is_shared_memory(access.addresses[0]))
      count_shared(access);
  }

  void count_global(const WarpAccess& access, Region* region) {
    GlobalTraffic& traffic = access.write ? launch_.written : launch_.read;
    units_.collect(access, kSector);
    traffic.sectors += units_.size();
    for (int lane = 0; lane < access.lanes; ++lane) {
      const uintptr_t address = access.addresses[static_cast<size_t>(lane)];
      if (!region || !region->holds(address)) region = regions_.find(address);
      if (!region) continue;
      const size_t bytes = std::min<size_t>(access.bytes, region->end - address);
      traffic.bytes += bytes;
      (access.write ? region->written : region->read).add(address - region->begin, bytes);
    }
  }

  void count_shared(const WarpAccess& access) {
    units_.collect(access, kWord);
    std::array<size_t, kBanks> words{};
    for (const uintptr_t word : units_) ++words[word % kBanks];
    ++launch_.shared_accesses;
    launch_.bank_conflicts +=
        *std::max_element(words.begin(), words.end()) - (units_.size() + kBanks - 1) / kBanks;
  }

  std::map<const void*, std::string> names_;
  WarpAccesses warp_;
  Regions regions_;
  Units units_;
  KernelTraffic launch_;
};

TrafficCount::TrafficCount() : counter_(std::make_unique<Counter>()) {
  const std::lock_guard lock(mutex());
  if (observer()) throw std::logic_error("TrafficCount: another one counts already");
  finish_all_streams();
  observer() = counter_.get();
}

TrafficCount::~TrafficCount() {
  const std::lock_guard lock(mutex());
  observer() = nullptr;
}

std::vector<KernelTraffic> TrafficCount::launches() const {
  const std::lock_guard lock(mutex());
  finish_all_streams();
  return counter_->launches;
}

std::vector<KernelTraffic> TrafficCount::kernels() const {
  std::map<std::string, KernelTraffic> by_name;
  for (const KernelTraffic& launch : launches()) {
    KernelTraffic& sum = by_name[launch.name];
    sum.name = launch.name;
    sum += launch;
  }
  std::vector<KernelTraffic> all;
  for (const auto& [name, kernel] : by_name) all.push_back(kernel);
  return all;
}

KernelTraffic TrafficCount::sum(const std::string& name_contains) const {
  KernelTraffic sum{.name = name_contains};
  for (const KernelTraffic& launch : launches())
    if (launch.name.find(name_contains) != std::string::npos) sum += launch;
  return sum;
}

}  // namespace tandem::simulator
