// Beginning and end of a rank, checks that all ranks do the same run, and lines about them.
#include "tandem/tools/run/ranks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <omp.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <thread>
#include <utility>
#include <vector>

#include "tandem/core/check.h"
#include "tandem/core/utf8.h"
#include "tandem/data/download/files.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/launch.h"

namespace tandem {
namespace {

constexpr int kFailure = 1, kStopped = 3;
constexpr const char* kGroup = "Several processes (see below)";

// Ends a rank that is not the first after an error. If the first has the same error, it is the one to tell it: its end
// ends this process within the time that is waited here. Nothing is torn down, since that could wait for other ranks.
[[noreturn]] void end_follower(const Ranks* ranks, const std::string& what) {
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const std::string name = ranks ? ranks->name(ranks->rank()) : fmt::format("rank {}", launched_rank());
  const std::string prefix = what.starts_with(name) ? "" : name + ": ";
  std::cerr << fmt::format("error: {}{}\n", prefix, printable(what)) << std::flush;
  std::_Exit(kFailure);
}

void drop_standard_output() {
  const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere < 0) return;
  dup2(nowhere, STDOUT_FILENO);
  ::close(nowhere);
}

void run_as_rank(double timeout, const std::function<void(const std::shared_ptr<Ranks>&)>& body) {
  if (launched_rank() == 0) {
    const std::shared_ptr<Ranks> ranks = join_ranks(timeout);
    try {
      body(ranks);
    } catch (const StoppedBySignal&) {
      ranks->leave();
      throw;
    }
    ranks->leave();
    return;
  }
  drop_standard_output();
  std::shared_ptr<Ranks> ranks;
  try {
    ranks = join_ranks(timeout);
    body(ranks);
    ranks->leave();
  } catch (const StoppedBySignal&) {
    ranks->leave();
    std::_Exit(kStopped);
  } catch (const std::exception& error) {
    end_follower(ranks.get(), error.what());
  }
}

// Returns the rate at which this rank sends while all exchange slices, in bytes a second. All ranks must call it.
double exchange_rate(const Ranks& ranks, Transport& transport, int64_t bytes_per_rank, int rounds) {
  const int n = ranks.size();
  const Tensor out = zeros({bytes_per_rank}, DType::u8, transport.device()),
               in = zeros({n, bytes_per_rank}, DType::u8, transport.device());
  std::vector<Ranks::Message> sends, receives;
  for (int r = 0; r < n; ++r) {
    if (r == ranks.rank()) continue;
    sends.push_back({r, out.raw(), out.nbytes()});
    receives.push_back({r, in.view_rows(r, r + 1).raw(), out.nbytes()});
  }
  const auto exchange = [&] {
    transport.exchange(sends, receives);
    transport.await();
  };
  exchange();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < rounds; ++i) exchange();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return static_cast<double>(bytes_per_rank) * (n - 1) * rounds / seconds;
}

}  // namespace

void add_start_flags(Flags& flags, RankOptions& o) {
  flags
      .add(
          "--ranks", o.ranks,
          "Start this many processes on this machine by mpirun. Without it, those that mpirun or srun has started take "
          "part.")
      .positive()
      .in_group(kGroup);
  flags
      .add("--timeout", o.timeout,
           "Longest wait for another rank, which is an error that names it: 90s, 10m, 8h.")
      .show_default()
      .in_group(kGroup);
}

void add_rank_flags(Flags& flags, RankOptions& o) {
  add_start_flags(flags, o);
  flags
      .add(
          "--shards", o.shards,
          "Groups of rows that are computed apart, with masks of their own, and added in a fixed order; they must divide "
          "--batch-size. A resumed run may have any number of ranks up to it [the number of ranks].")
      .positive()
      .in_group(kGroup);
  flags
      .add(
          "--reduce", o.reduce,
          "How gradients of ranks are added: exact, with the same bits for any number of ranks, or fast, by MPI or "
          "NCCL.")
      .one_of({"exact", "fast"})
      .show_default()
      .in_group(kGroup);
  flags
      .add(
          "--max-restarts", o.max_restarts,
          "With --ranks and --out: if a rank fails, go on from the last checkpoint with the ranks that are left, at most "
          "so often.")
      .non_negative()
      .show_default()
      .in_group(kGroup);
}

double parse_time(const std::string& flag, const std::string& text) {
  double value = -1;
  const char* const stopped = std::from_chars(text.data(), text.data() + text.size(), value).ptr;
  const std::string unit = text.substr(static_cast<size_t>(stopped - text.data()));
  const double scale = unit.empty() || unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  if (!(value > 0) || !std::isfinite(value) || scale == 0)
    throw UsageError(flag + ": " + text + " is not a time; give 90s, 10m or 8h");
  return value * scale;
}

void run_on_ranks(const RankOptions& options, const std::string& out,
                  const std::vector<std::string>& arguments,
                  const std::function<void(const std::shared_ptr<Ranks>&)>& body) {
  if (options.max_restarts > 0 && !launched_as_rank()) {
    if (!options.ranks)
      throw UsageError("--max-restarts: it starts ranks again that --ranks has started; give both");
    if (out.empty())
      throw UsageError("--max-restarts: give --out=FOLDER, too, where the last checkpoint is found");
  }
  const double timeout = parse_time("--timeout", options.timeout);
  if (options.ranks && launched_as_rank())
    throw UsageError(
        "--ranks: a launcher has started this process as a rank already; leave --ranks out, or the launcher");
  if (!options.ranks) return run_as_rank(timeout, body);
  launch_ranks(options, out, arguments);
}

int cores_of_process() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

void wait_for_corpus(Ranks& ranks) {
  constexpr double kLongest = 3600;
  const double usual = ranks.timeout();
  ranks.set_timeout(std::max(usual, kLongest));
  ranks.largest(0);
  ranks.set_timeout(usual);
}

void check_same_run(Ranks& ranks, const RunConfig& config, const Corpus& corpus, Device device) {
  if (ranks.size() == 1) return;
  const std::pair<const char*, std::string> facts[] = {
      {"program (its digest)", file_digest("/proc/self/exe")},
      {"corpus (its sha256)", corpus.sha256},
      {"device", device.is_cuda() ? "a GPU" : "the CPU"},
      {"configuration", config.text()}};
  for (const auto& [what, own] : facts) {
    const std::vector<std::string> all = ranks.gather(own);
    for (int r = 1; r < ranks.size(); ++r)
      TANDEM_CHECK(all[static_cast<size_t>(r)] == all[0],
                   "{} and {} differ in the {}: {} and {}; give all ranks the same program, text and flags",
                   ranks.name(0), ranks.name(r), what, all[0], all[static_cast<size_t>(r)]);
  }
}

void choose_own_gpu(const Ranks& ranks) {
  if (ranks.local_size() == 1) return;
  const char* const shown = std::getenv("CUDA_VISIBLE_DEVICES");
  if (!shown) {
    setenv("CUDA_VISIBLE_DEVICES", std::to_string(ranks.local_rank()).c_str(), 1);
    return;
  }
  // Takes one of the list; a launcher that shows each rank one GPU has chosen already.
  std::vector<std::string> list;
  for (std::string rest = shown; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    list.push_back(rest.substr(0, comma));
    rest.erase(0, comma + 1);
  }
  if (list.size() <= 1) return;
  TANDEM_CHECK(
      static_cast<size_t>(ranks.local_rank()) < list.size(),
      "{} is number {} of this host, and CUDA_VISIBLE_DEVICES={} shows {} GPUs; each rank needs its own",
      ranks.name(ranks.rank()), ranks.local_rank() + 1, shown, list.size());
  setenv("CUDA_VISIBLE_DEVICES", list[static_cast<size_t>(ranks.local_rank())].c_str(), 1);
}

std::string share_cores(const Ranks& ranks) {
  if (!launched_as_rank()) return "";
  const int cores = cores_of_process(), all = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  const int fellows = ranks.local_size();
  if (std::getenv("OMP_NUM_THREADS"))
    return omp_get_max_threads() > cores
               ? fmt::format(
                     "note: {} threads a rank on {} cores; mpirun --bind-to none, or --map-by slot:PE={}, gives "
                     "each rank more",
                     omp_get_max_threads(), cores, omp_get_max_threads())
               : "";
  if (cores * fellows <= all) {  // each rank has cores of its own
    if (cores * fellows > all / 2) return "";
    return fmt::format(
        "note: {} ranks are bound to {} of {} cores each; mpirun --bind-to none lets them share all", fellows,
        cores, all);
  }
  const int threads = std::max(1, cores / fellows);
  omp_set_num_threads(threads);
  if (fellows == 1) return "";
  return fmt::format(
      "note: {} ranks see the same {} cores, so each takes {} threads; OMP_NUM_THREADS sets another number",
      fellows, cores, threads);
}

std::string ranks_line(Ranks& ranks, Transport& transport, int64_t shards, const std::string& reduce) {
  if (ranks.size() == 1) return shards > 1 ? fmt::format("ranks: 1, {} shards", shards) : "";
  std::vector<std::pair<std::string, int>> hosts;
  for (int r = 0; r < ranks.size(); ++r) {
    auto host =
        std::find_if(hosts.begin(), hosts.end(), [&](const auto& one) { return one.first == ranks.host(r); });
    if (host == hosts.end()) host = hosts.insert(hosts.end(), {ranks.host(r), 0});
    ++host->second;
  }
  std::string list;
  for (const auto& [host, count] : hosts)
    list += fmt::format("{}{}: {}", list.empty() ? "" : ", ", host, count);
  const double rate = exchange_rate(ranks, transport, 1 << 20, 4);
  const std::string& way = transport.way();
  return fmt::format("ranks: {} on {} host{} ({}), {} shards, {}; exchange {:.2g} GB/s a rank{}",
                     ranks.size(), hosts.size(), hosts.size() == 1 ? "" : "s", list, shards, reduce,
                     rate / 1e9, way.empty() ? "" : ", " + printable(way));
}

std::string memory_line(Ranks& ranks, int64_t bytes) {
  const std::vector<std::string> all = ranks.gather(fmt::format("{:.0f}", static_cast<double>(bytes) / 1e6));
  return fmt::format("memory: {} MB by rank", fmt::join(all, ", "));
}

}  // namespace tandem
