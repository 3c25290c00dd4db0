// Several processes in one run of train: their flags, their common beginning and end, and the settings that must agree.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tandem/core/device.h"
#include "tandem/core/ranks.h"
#include "tandem/core/transport.h"
#include "tandem/data/corpus.h"
#include "tandem/models/training/run_config.h"
#include "tandem/tools/run/flags.h"

namespace tandem {

struct RankOptions {
  std::optional<int64_t> ranks;   // processes to start on this machine; nullopt: none
  std::optional<int64_t> shards;  // Recipe::shards of a new run; nullopt: as many as ranks
  std::string reduce = "exact";
  std::string timeout = "10m";
  int64_t max_restarts = 0;
};

// Adds --ranks and --timeout. `options` must outlive the parsing.
void add_start_flags(Flags& flags, RankOptions& options);
// Adds --ranks, --timeout, --shards, --reduce and --max-restarts. `options` must outlive the parsing.
void add_rank_flags(Flags& flags, RankOptions& options);

// Returns the seconds of "90s", "10m" or "8h". Error: UsageError, naming the flag.
double parse_time(const std::string& flag, const std::string& text);

// Runs `body` on this process, which may be one of the ranks that a launcher started, or, with --ranks, on processes that
// it starts itself by mpirun; then it does not return where they fail. A rank that is not the first prints nothing but its
// errors, behind its name. `out` is the folder of --out, `arguments` are those of the processes to start.
void run_on_ranks(const RankOptions& options, const std::string& out,
                  const std::vector<std::string>& arguments,
                  const std::function<void(const std::shared_ptr<Ranks>&)>& body);

// Returns the number of cores that this process may run on.
int cores_of_process();

// Returns whether --max-restarts has started this process in place of one that failed.
bool is_restart();

// Waits until all ranks have loaded their corpus: for an hour, since it may have to be downloaded, or for --timeout if that
// is longer.
void wait_for_corpus(Ranks& ranks);

// Error: ranks differ in the program, the corpus, the configuration of the run or the kind of device; both hosts are named.
void check_same_run(Ranks& ranks, const RunConfig& config, const Corpus& corpus, Device device);

// Takes the GPU that is this rank's, of those that this host shows. Call it before the GPU is used.
void choose_own_gpu(const Ranks& ranks);
// Shares the cores of a host among its ranks, unless the launcher or OMP_NUM_THREADS has. Returns notes for people on
// bindings that leave cores idle; "" if there is nothing to say.
std::string share_cores(const Ranks& ranks);

// Returns "ranks: 4 on 2 hosts (a: 2, b: 2), 8 shards, exact; exchange 1.1 GB/s a rank"; for GPUs also how their gradients
// go from rank to rank. All ranks must call it.
std::string ranks_line(Ranks& ranks, Transport& transport, int64_t shards, const std::string& reduce);
// Returns "memory: 54, 55 MB by rank". All ranks must call it.
std::string memory_line(Ranks& ranks, int64_t bytes);

}  // namespace tandem
