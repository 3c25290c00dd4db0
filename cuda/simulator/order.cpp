// The order of threads and blocks: forward, reverse, or shuffled by a seed.
#include "order.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <string_view>

#include "internal.h"

namespace tandem::simulator {
namespace {

Order from_environment() {
  const char* name = std::getenv("TANDEM_SIMULATOR_ORDER");
  const std::string_view value = name ? name : "";
  return value == "reverse" ? Order::reverse : value == "shuffled" ? Order::shuffled : Order::forward;
}

Order g_order = from_environment();
uint64_t g_random = 0;

}  // namespace

void set_order(Order order, uint64_t seed) {
  const std::lock_guard lock(mutex());
  g_order = order;
  g_random = seed;
}
Order order() {
  return g_order;
}

uint64_t random(uint64_t below) {
  // SplitMix64 (Steele, Lea, Flood 2014).
  uint64_t z = g_random += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return (z ^ (z >> 31)) % below;
}

void arrange(std::vector<unsigned>& ascending) {
  if (g_order == Order::reverse) std::reverse(ascending.begin(), ascending.end());
  if (g_order == Order::shuffled)
    for (size_t i = ascending.size(); i > 1; --i) std::swap(ascending[i - 1], ascending[random(i)]);
}

BlockOrder::BlockOrder(size_t blocks) : blocks_(blocks) {
  if (g_order != Order::shuffled) return;
  shuffled_.resize(blocks);
  std::iota(shuffled_.begin(), shuffled_.end(), 0u);
  arrange(shuffled_);
}

size_t BlockOrder::operator[](size_t i) const {
  return !shuffled_.empty() ? shuffled_[i] : g_order == Order::reverse ? blocks_ - 1 - i : i;
}

}  // namespace tandem::simulator
