// Ranks: the processes that take part in one run, and how they exchange data. A program that no launcher started is a
// group of one, which exchanges nothing. Over MPI it is core/ranks_mpi.cpp.
//
// Every wait has a deadline, after which it is an error that names who waits for whom. So all data go directly from the
// rank that has them to the rank that wants them: whoever is missing is the one that is waited for.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tandem/core/error.h"

namespace tandem {

// Thrown when another rank does not answer within the deadline. The group is of no use then: end the process, and the
// launcher ends the others.
class RankLost : public Error {
 public:
  using Error::Error;
};

class Ranks {
 public:
  static constexpr double kDefaultTimeout = 600;  // seconds

  virtual ~Ranks() = default;
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(hosts_.size()); }
  bool leads() const { return rank_ == 0; }  // the rank that reads and writes files
  const std::string& host(int rank) const { return hosts_.at(static_cast<size_t>(rank)); }
  int local_rank() const;            // number of the ranks of this host that come before this one
  int local_size() const;            // number of the ranks of this host
  std::string name(int rank) const;  // "rank 1 (host)"

  // Sets the longest wait for another rank in seconds, from the moment that this one is ready; 0: no limit. At first it is
  // the one of join_ranks().
  void set_timeout(double seconds) { timeout_ = seconds; }
  double timeout() const { return timeout_; }
  // Sets the name of the work that the ranks are doing, such as "step 20", for errors.
  void set_activity(std::string activity) { activity_ = std::move(activity); }
  const std::string& activity() const { return activity_; }

  // Memory that goes to, or comes from, another rank.
  struct Message {
    int rank;
    void* data;
    size_t bytes;
  };
  // Sends and receives all messages; returns when all are done. The messages from one rank to another match in their
  // order and their sizes. Error: RankLost; a message to a rank that is not in the group, or to this one.
  void exchange(std::span<const Message> sends, std::span<const Message> receives);

  // Adds `data` over all ranks in the order of the communication library, which depends on their number: the same bits on
  // every rank, but not for every number of ranks. Error: RankLost.
  void all_reduce(std::span<float> data);
  void all_reduce(std::span<double> data);

  // All ranks must call the functions below. Error: RankLost.

  // Returns the texts of all ranks, by rank.
  std::vector<std::string> gather(const std::string& own);
  // Returns the largest of the values of all ranks.
  int64_t largest(int64_t own);
  // Returns the text of rank 0.
  std::string broadcast(const std::string& text);
  // Copies the memory of rank 0 to all others.
  void broadcast(void* data, size_t bytes);
  // Waits until rank 0 calls it, too, which may be evaluating for hours: the deadline begins anew with each still_working()
  // of rank 0.
  void wait_for_leader();
  // Tells the others, which call wait_for_leader(), that rank 0 is still working. It sends at most ten messages in the time
  // of the deadline, so it may be called often. For rank 0 alone.
  void still_working();
  // Ends the group in an orderly way. A process that ends without it, after an error, ends the whole job.
  virtual void leave() {}

  // Returns the group of one.
  static std::shared_ptr<Ranks> alone();

 protected:
  Ranks(int rank, std::vector<std::string> hosts);

  virtual void transfer(std::span<const Message> sends, std::span<const Message> receives) = 0;
  virtual void sum(float* data, size_t count) = 0;
  virtual void sum(double* data, size_t count) = 0;

  // Throws RankLost: this rank has waited as long as it may for `missing`.
  [[noreturn]] void fail_waiting(const std::vector<int>& missing) const;

 private:
  void check(std::span<const Message> messages) const;
  // Returns the numbers of all ranks, by rank.
  std::vector<int64_t> gather_numbers(int64_t own);

  int rank_;
  std::vector<std::string> hosts_;  // by rank
  double timeout_ = kDefaultTimeout;
  std::string activity_ = "the start";
  double last_sign_ = 0;  // time of the last still_working() that was sent, in seconds
};

// Returns whether a launcher such as mpirun or srun started this process as one of several ranks.
bool launched_as_rank();
// Returns the rank that the launcher gave this process, without any call of MPI; 0 if there is none.
int launched_rank();

// Joins the ranks that the launcher started. Without a launcher it returns the group of one, and calls nothing of MPI.
// Call it once in a process. If some rank does not join within the deadline, it prints an error and ends the process,
// since a call of MPI cannot be left. Error: there is a launcher, but this build has no MPI.
std::shared_ptr<Ranks> join_ranks(double timeout = Ranks::kDefaultTimeout);
// Returns what join_ranks() has returned, as long as somebody holds it; otherwise the group of one.
std::shared_ptr<Ranks> joined_ranks();

}  // namespace tandem
