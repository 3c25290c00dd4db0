// Matches the accesses of lanes that took different ways through the code.
#include "warp_accesses.h"

#include <algorithm>
#include <tuple>

namespace tandem::simulator {
namespace {

// Returns what is the same for two accesses of one instruction.
auto instruction(const Access& access) {
  return std::tuple(access.place, access.write, access.bytes);
}

}  // namespace

bool WarpAccesses::Numbered::same_instruction(const Numbered& other) const {
  return number == other.number && instruction(access) == instruction(other.access);
}

size_t WarpAccesses::shared_prefix() const {
  const AccessLog& first = *lanes_[0];
  size_t length = first.size();
  for (const AccessLog* log : lanes_) {
    length = std::min(length, log->size());
    for (size_t i = 0; i < length; ++i)
      if (instruction((*log)[i]) != instruction(first[i])) length = i;
  }
  return length;
}

void WarpAccesses::sort_rest(size_t from) {
  rest_.clear();
  for (uint32_t lane = 0; lane < lanes_.size(); ++lane)
    for (size_t i = from; i < lanes_[lane]->size(); ++i)
      rest_.push_back({(*lanes_[lane])[i], lane, static_cast<uint32_t>(i)});
  const auto by_lane = [](const Numbered& x) { return std::tuple(instruction(x.access), x.lane, x.number); };
  std::sort(rest_.begin(), rest_.end(),
            [&](const Numbered& a, const Numbered& b) { return by_lane(a) < by_lane(b); });
  uint32_t number = 0;
  for (size_t i = 0; i < rest_.size(); ++i) {
    const bool goes_on = i > 0 && rest_[i].lane == rest_[i - 1].lane &&
                         instruction(rest_[i].access) == instruction(rest_[i - 1].access);
    number = goes_on ? number + 1 : 0;
    rest_[i].number = number;
  }
  const auto by_visit = [](const Numbered& x) { return std::tuple(instruction(x.access), x.number, x.lane); };
  std::sort(rest_.begin(), rest_.end(),
            [&](const Numbered& a, const Numbered& b) { return by_visit(a) < by_visit(b); });
}

}  // namespace tandem::simulator
