// Appending to the cache, and its groups.
#include "tandem/models/layers/key_value_cache.h"

#include <algorithm>
#include <iterator>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/models/layers/batch_rows.h"

namespace tandem {

KeyValueCache::KeyValueCache(int64_t visible, int64_t batch, int64_t width, DType dtype, Device device)
    : visible_(visible) {
  TANDEM_CHECK(visible > 0, "generation: attention sees {} keys; give a memory of at least one token",
               visible);
  groups_.push_back({Tensor({2 * visible, batch, width}, dtype, device)});
}

Tensor KeyValueCache::add(Group& group, const Tensor& rows) const {
  const Tensor& buffer = group.buffer;
  const int64_t steps = rows.size(0);
  const int64_t kept = std::min(group.end, visible_ - 1);  // earlier rows that a query may see
  if (steps > visible_) {
    const Tensor all({kept + steps, group.batch(), buffer.size(2)}, buffer.dtype(), buffer.device());
    copy(all.view_rows(0, kept), buffer.view_rows(group.end - kept, group.end));
    copy(all.view_rows(kept, kept + steps), rows);
    copy(buffer.view_rows(0, visible_), all.view_rows(kept + steps - visible_, kept + steps));
    group.end = visible_;
    return all;
  }
  if (group.end + steps > buffer.size(0)) {
    const Tensor last = buffer.view_rows(group.end - kept, group.end);
    const bool overlap = group.end - kept < kept;  // only if several rows come at once
    copy(buffer.view_rows(0, kept), overlap ? last.clone() : last);
    group.end = kept;
  }
  copy(buffer.view_rows(group.end, group.end + steps), rows);
  group.end += steps;
  return buffer.view_rows(group.end - steps - kept, group.end);
}

void KeyValueCache::join_full_groups() {
  const int64_t kept = visible_ - 1;
  const auto is_full = [kept](const Group& group) { return group.end >= kept; };
  const auto both_full = [is_full](const Group& a, const Group& b) { return is_full(a) && is_full(b); };
  if (std::adjacent_find(groups_.begin(), groups_.end(), both_full) == groups_.end()) return;
  std::vector<Group> joined;
  for (auto first = groups_.begin(); first != groups_.end();) {
    const auto last = is_full(*first) ? std::find_if_not(first, groups_.end(), is_full) : first + 1;
    if (last - first == 1) {
      joined.push_back(std::move(*first++));
      continue;
    }
    int64_t batch = 0, begin = 0;
    for (auto group = first; group != last; ++group) batch += group->batch();
    const Tensor& like = first->buffer;
    const Tensor buffer({like.size(0), batch, like.size(2)}, like.dtype(), like.device());
    const Tensor front = buffer.view_rows(0, kept);
    for (; first != last; begin += first++->batch())
      set_batch_rows(front, begin, first->buffer.view_rows(first->end - kept, first->end));
    joined.push_back({buffer, kept});
  }
  groups_ = std::move(joined);
}

Tensor KeyValueCache::attend(const Tensor& q, const Tensor& kv, const Attend& attend) {
  if (groups_.size() > 1) join_full_groups();
  if (groups_.size() == 1) return attend(q, add(groups_[0], kv));
  Tensor y;
  int64_t begin = 0;
  for (Group& group : groups_) {
    const int64_t end = begin + group.batch();
    const Tensor rows = attend(batch_rows(q, begin, end), add(group, batch_rows(kv, begin, end)));
    if (!y.defined()) y = Tensor(q.shape(), rows.dtype(), rows.device());
    set_batch_rows(y, begin, rows);
    begin = end;
  }
  return y;
}

void KeyValueCache::keep(std::span<const int64_t> rows) {
  std::vector<Group> kept;
  size_t next = 0;
  int64_t begin = 0;
  for (Group& group : groups_) {
    const int64_t end = begin + group.batch();
    std::vector<int64_t> own;
    for (; next < rows.size() && rows[next] < end; ++next) own.push_back(rows[next] - begin);
    begin = end;
    if (own.empty()) continue;
    if (static_cast<int64_t>(own.size()) < group.batch()) group.buffer = kept_rows(group.buffer, own);
    kept.push_back(std::move(group));
  }
  groups_ = std::move(kept);
}

void KeyValueCache::append(KeyValueCache& other) {
  std::move(other.groups_.begin(), other.groups_.end(), std::back_inserter(groups_));
  other.groups_.clear();
}

}  // namespace tandem
