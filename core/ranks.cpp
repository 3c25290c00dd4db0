// Functions that all groups have, built of exchange() alone, and the group of one.
#include "tandem/core/ranks.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "tandem/core/check.h"
#include "tandem/core/format.h"
#include "tandem/core/ranks_mpi.h"

namespace tandem {
namespace {

std::weak_ptr<Ranks> g_joined;

constexpr char kWorking = 0, kDone = 1;  // signs of rank 0 to those that wait for it

class Alone : public Ranks {
 public:
  Alone() : Ranks(0, {"this host"}) {}

 private:
  void transfer(std::span<const Message>, std::span<const Message>) override {}
  void sum(float*, size_t) override {}
  void sum(double*, size_t) override {}
};

// Launchers set one of these for each process that they start: Open MPI's, the PMI of MPICH and Slurm, and PMIx.
constexpr const char* kRankVariables[] = {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"};
// Most of them say how many processes they have started, too.
[[maybe_unused]] constexpr const char* kSizeVariables[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};

// Error: the launcher has started another number of processes than MPI has connected. The launcher of one MPI library cannot
// connect programs of another, which then take themselves for groups of one, and each would train a run of its own.
[[maybe_unused]] void check_launched_size(int connected) {
  for (const char* const variable : kSizeVariables) {
    const char* const value = std::getenv(variable);
    if (!value) continue;
    TANDEM_CHECK(
        std::atoi(value) == connected,
        "the launcher has started {} ranks, but MPI has connected {}; it is the launcher of another MPI library "
        "than this program was built with, so start it by that library's mpirun",
        value, connected);
    return;
  }
}

}  // namespace

Ranks::Ranks(int rank, std::vector<std::string> hosts) : rank_(rank), hosts_(std::move(hosts)) {}

std::shared_ptr<Ranks> Ranks::alone() {
  return std::make_shared<Alone>();
}

int Ranks::local_rank() const {
  return static_cast<int>(
      std::count(hosts_.begin(), hosts_.begin() + rank_, hosts_[static_cast<size_t>(rank_)]));
}

int Ranks::local_size() const {
  return static_cast<int>(std::count(hosts_.begin(), hosts_.end(), hosts_[static_cast<size_t>(rank_)]));
}

std::string Ranks::name(int rank) const {
  return fmt::format("rank {} ({})", rank, host(rank));
}

void Ranks::check(std::span<const Message> messages) const {
  for (const Message& message : messages)
    TANDEM_CHECK(
        message.rank >= 0 && message.rank < size() && message.rank != rank_,
        "exchange: {} cannot exchange messages with rank {}; there are {} ranks, counted from 0, and each "
        "exchanges with others only",
        name(rank_), message.rank, size());
}

void Ranks::exchange(std::span<const Message> sends, std::span<const Message> receives) {
  check(sends);
  check(receives);
  if (!sends.empty() || !receives.empty()) transfer(sends, receives);
}

void Ranks::all_reduce(std::span<float> data) {
  if (size() > 1) sum(data.data(), data.size());
}

void Ranks::all_reduce(std::span<double> data) {
  if (size() > 1) sum(data.data(), data.size());
}

std::vector<std::string> Ranks::gather(const std::string& own) {
  const std::vector<int64_t> sizes = gather_numbers(static_cast<int64_t>(own.size()));
  std::vector<std::string> all(sizes.size());
  std::vector<Message> sends, receives;
  for (int r = 0; r < size(); ++r) {
    std::string& text = all[static_cast<size_t>(r)];
    if (r == rank_) {
      text = own;
      continue;
    }
    text.resize(static_cast<size_t>(sizes[static_cast<size_t>(r)]));
    if (!own.empty()) sends.push_back({r, const_cast<char*>(own.data()), own.size()});
    if (!text.empty()) receives.push_back({r, text.data(), text.size()});
  }
  exchange(sends, receives);
  return all;
}

std::vector<int64_t> Ranks::gather_numbers(int64_t own) {
  std::vector<int64_t> values(static_cast<size_t>(size()), own);
  std::vector<Message> sends, receives;
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) continue;
    sends.push_back({r, &own, sizeof own});
    receives.push_back({r, &values[static_cast<size_t>(r)], sizeof own});
  }
  exchange(sends, receives);
  return values;
}

int64_t Ranks::largest(int64_t own) {
  const std::vector<int64_t> values = gather_numbers(own);
  return *std::max_element(values.begin(), values.end());
}

void Ranks::broadcast(void* data, size_t bytes) {
  if (bytes == 0) return;
  std::vector<Message> sends, receives;
  for (int r = 1; leads() && r < size(); ++r) sends.push_back({r, data, bytes});
  if (!leads()) receives.push_back({0, data, bytes});
  exchange(sends, receives);
}

std::string Ranks::broadcast(const std::string& text) {
  auto bytes = static_cast<int64_t>(text.size());
  broadcast(&bytes, sizeof bytes);
  std::string all = text;
  all.resize(static_cast<size_t>(bytes));
  broadcast(all.data(), all.size());
  return all;
}

void Ranks::wait_for_leader() {
  char sign = kDone;
  do broadcast(&sign, 1);
  while (sign != kDone);
}

void Ranks::still_working() {
  const double now =
      std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  if (size() == 1 || timeout_ <= 0 || now - last_sign_ < timeout_ / 10) return;
  last_sign_ = now;
  char sign = kWorking;
  broadcast(&sign, 1);
}

void Ranks::fail_waiting(const std::vector<int>& missing) const {
  std::string names;
  for (const int r : missing) names += (names.empty() ? "" : ", ") + name(r);
  throw RankLost(fmt::format(
      "{} has waited {:g} s for {} in {}: it has ended, hangs or is stopped, or the link to it is down; look at its "
      "output, and start again with --resume, on any number of ranks (--timeout is the longest wait)",
      name(rank_), timeout_, names, activity_));
}

int launched_rank() {
  for (const char* variable : kRankVariables)
    if (const char* const value = std::getenv(variable)) return std::atoi(value);
  return 0;
}

bool launched_as_rank() {
  return std::any_of(std::begin(kRankVariables), std::end(kRankVariables),
                     [](const char* variable) { return std::getenv(variable) != nullptr; });
}

std::shared_ptr<Ranks> join_ranks([[maybe_unused]] double timeout) {
  if (!launched_as_rank()) return Ranks::alone();
#ifdef TANDEM_WITH_MPI
  std::shared_ptr<Ranks> ranks = join_mpi(timeout);
  check_launched_size(ranks->size());
  g_joined = ranks;
  return ranks;
#else
  detail::fail(
      "a launcher has started this program as rank {}, but it was built without MPI; install libopenmpi-dev (tools/setup "
      "does) and build again, or start it alone",
      launched_rank());
#endif
}

std::shared_ptr<Ranks> joined_ranks() {
  std::shared_ptr<Ranks> ranks = g_joined.lock();
  return ranks ? ranks : Ranks::alone();
}

}  // namespace tandem
