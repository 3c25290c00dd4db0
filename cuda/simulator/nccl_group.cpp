// A group of NCCL's calls: all ranks learn what the others call, compare, and then move the data.
#include "nccl_group.h"

#include <cstring>

namespace tandem::simulator {
namespace {

using namespace cuda;

// A rank announces each of its calls to the others, which compare it with theirs.
struct Announcement {
  NcclKind kind;
  int type, peer;
  uint64_t count;

  bool operator==(const Announcement&) const = default;
};
using Announcements = std::vector<Announcement>;

std::string bytes_of(const std::vector<NcclCall>& calls) {
  std::string bytes;
  for (const NcclCall& call : calls) {
    Announcement one{};
    one.kind = call.kind;
    one.type = call.type;
    one.peer = call.peer;
    one.count = call.count;
    bytes.append(reinterpret_cast<const char*>(&one), sizeof one);
  }
  return bytes;
}

Announcements announcements_of(const std::string& bytes) {
  Announcements all(bytes.size() / sizeof(Announcement));
  if (!all.empty()) std::memcpy(all.data(), bytes.data(), all.size() * sizeof(Announcement));
  return all;
}

const char* name_of(int type) {
  return type == ncclInt8 ? "ncclInt8" : type == ncclFloat32 ? "ncclFloat32" : "ncclFloat64";
}

std::string text_of(const Announcement& one) {
  return std::to_string(one.count) + " " + name_of(one.type);
}

// Returns the calls of a kind, and of a peer unless that is negative.
Announcements chosen(const Announcements& all, NcclKind kind, int peer) {
  Announcements found;
  for (const Announcement& one : all)
    if (one.kind == kind && (peer < 0 || one.peer == peer)) found.push_back(one);
  return found;
}

// Returns what differs between the calls of two ranks, in this many words for people; empty if nothing does.
std::string difference(const Announcements& a, const Announcements& b, const std::string& a_does,
                       const std::string& b_does) {
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    if (i < a.size() && i < b.size() && a[i].type == b[i].type && a[i].count == b[i].count) continue;
    return a_does + (i < a.size() ? text_of(a[i]) : "nothing") + ", " + b_does +
           (i < b.size() ? text_of(b[i]) : "nothing") + " (call " + std::to_string(i + 1) + " of the group)";
  }
  return "";
}

// Returns what does not fit together in the calls of all ranks, by rank; empty if they fit.
std::string mismatch(const Ranks& ranks, const std::vector<Announcements>& all) {
  const auto of = [&all](int rank) -> const Announcements& { return all[static_cast<size_t>(rank)]; };
  for (int a = 0; a < ranks.size(); ++a) {
    const std::string name = ranks.name(a);
    std::string text =
        difference(chosen(of(0), NcclKind::all_reduce, -1), chosen(of(a), NcclKind::all_reduce, -1),
                   ranks.name(0) + " reduces ", name + " ");
    for (int b = 0; b < ranks.size() && text.empty(); ++b)
      text = difference(chosen(of(a), NcclKind::send, b), chosen(of(b), NcclKind::receive, a),
                        name + " sends " + ranks.name(b) + " ", "which receives ");
    if (!text.empty()) return text;
  }
  return "";
}

void reduce(Ranks& ranks, const NcclCall& call) {
  if (call.to != call.from && call.count > 0)
    std::memmove(call.to, call.from, call.count * size_of(call.type));
  if (call.type == ncclFloat64)
    ranks.all_reduce(std::span(static_cast<double*>(call.to), call.count));
  else
    ranks.all_reduce(std::span(static_cast<float*>(call.to), call.count));
}

void move_messages(Ranks& ranks, const std::vector<NcclCall>& calls) {
  std::vector<Ranks::Message> sends, receives;
  std::vector<const NcclCall*> to_itself;
  size_t from_itself = 0;
  for (const NcclCall& call : calls) {
    const size_t bytes = call.count * size_of(call.type);
    if (call.kind == NcclKind::send && call.peer == ranks.rank()) to_itself.push_back(&call);
    if (call.kind == NcclKind::all_reduce || call.peer == ranks.rank()) continue;
    if (call.kind == NcclKind::send)
      sends.push_back({call.peer, const_cast<void*>(call.from), bytes});
    else
      receives.push_back({call.peer, call.to, bytes});
  }
  for (const NcclCall& call : calls)
    if (call.kind == NcclKind::receive && call.peer == ranks.rank()) {
      const NcclCall& sent = *to_itself[from_itself++];
      if (call.count > 0) std::memmove(call.to, sent.from, call.count * size_of(call.type));
    }
  ranks.exchange(sends, receives);
}

}  // namespace

const char* name_of(NcclKind kind) {
  return kind == NcclKind::all_reduce ? "ncclAllReduce" : kind == NcclKind::send ? "ncclSend" : "ncclRecv";
}

size_t size_of(ncclDataType_t type) {
  return type == ncclInt8 ? 1 : type == ncclFloat32 ? 4 : type == ncclFloat64 ? 8 : 0;
}

void join(NcclState& state) {
  state.joined = true;
  try {
    const std::vector<std::string> ids = state.ranks->gather(state.id);
    for (int r = 1; r < state.ranks->size(); ++r)
      if (ids[static_cast<size_t>(r)] != ids[0]) {
        state.error = ncclInvalidUsage;
        state.last_error = state.ranks->name(0) + " and " + state.ranks->name(r) +
                           " have different unique ids; rank 0 must make one for all";
      }
  } catch (const Error& error) {
    state.error = ncclSystemError;
    state.last_error = error.what();
  }
}

// NCCL does not notice that a rank is gone without a word: the group only never ends. Which one it was is left in
// last_error for people.
cudaError_t run(NcclState& state, const std::vector<NcclCall>& calls) {
  if (state.aborted) return cudaSuccess;
  if (state.stuck) return cudaErrorNotReady;
  try {
    Ranks& ranks = *state.ranks;
    std::vector<Announcements> all;
    for (const std::string& bytes : ranks.gather(bytes_of(calls))) all.push_back(announcements_of(bytes));
    const std::string wrong = mismatch(ranks, all);
    if (wrong.empty()) {
      for (const NcclCall& call : calls)
        if (call.kind == NcclKind::all_reduce) reduce(ranks, call);
      move_messages(ranks, calls);
      ++counters().nccl_groups;
      return cudaSuccess;
    }
    state.error = ncclInvalidUsage;
    state.last_error = wrong;
  } catch (const Error& error) {
    state.last_error = error.what();
  }
  state.stuck = true;
  return cudaErrorNotReady;
}

}  // namespace tandem::simulator
