// Ranks over MPI, by the C interface. The only file that includes mpi.h.
#ifdef TANDEM_WITH_MPI
#include "tandem/core/ranks_mpi.h"

#define OMPI_SKIP_MPICXX 1  // no bindings of C++, which MPI has given up
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "tandem/core/check.h"
#include "tandem/core/deadline.h"

namespace tandem {
namespace {

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  detail::fail("{} failed: {}; the ranks cannot go on", call, std::string(text, static_cast<size_t>(length)));
}

// Counts of MPI are ints, so longer messages go in pieces.
constexpr size_t kPiece = size_t{1} << 30;

template <class Start>
void in_pieces(const Ranks::Message& message, const Start& start) {
  for (size_t at = 0; at < message.bytes; at += kPiece)
    start(static_cast<char*>(message.data) + at, static_cast<int>(std::min(kPiece, message.bytes - at)));
}

std::string complaint(const std::string& name, double timeout, const std::string& activity) {
  return fmt::format(
      "{} has waited {:g} s for the others in {}; one of them has ended, hangs, or cannot be reached (--timeout is the "
      "longest wait)",
      name, timeout, activity);
}

class MpiRanks : public Ranks {
 public:
  MpiRanks(int rank, std::vector<std::string> hosts, double timeout) : Ranks(rank, std::move(hosts)) {
    set_timeout(timeout);
  }

  void leave() override {
    set_activity("the end");
    largest(0);  // nobody ends while another one still needs it
    const Watchdog watchdog(timeout(), complaint(name(rank()), timeout(), "MPI_Finalize at the end"));
    check_mpi(MPI_Finalize(), "MPI_Finalize");
  }

 private:
  void transfer(std::span<const Message> sends, std::span<const Message> receives) override {
    std::vector<MPI_Request> requests;
    std::vector<int> peers;  // of each request
    const auto next = [&requests, &peers](int peer) {
      peers.push_back(peer);
      requests.push_back(MPI_REQUEST_NULL);
      return &requests.back();
    };
    for (const Message& message : receives)
      in_pieces(message, [&](char* data, int bytes) {
        check_mpi(MPI_Irecv(data, bytes, MPI_BYTE, message.rank, kTag, MPI_COMM_WORLD, next(message.rank)),
                  "MPI_Irecv");
      });
    for (const Message& message : sends)
      in_pieces(message, [&](char* data, int bytes) {
        check_mpi(MPI_Isend(data, bytes, MPI_BYTE, message.rank, kTag, MPI_COMM_WORLD, next(message.rank)),
                  "MPI_Isend");
      });
    const Patience patience(timeout());
    for (int done = 0;; patience.rest()) {
      check_mpi(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE),
                "MPI_Testall");
      if (done) return;
      if (!patience.is_over()) continue;
      // A process that was stopped for a while finds here what has arrived meanwhile.
      const std::vector<int> missing = unfinished(requests, peers);
      if (missing.empty()) return;
      fail_waiting(missing);
    }
  }

  static std::vector<int> unfinished(std::vector<MPI_Request>& requests, const std::vector<int>& peers) {
    std::set<int> missing;
    for (size_t i = 0; i < requests.size(); ++i) {
      int done = 0;
      MPI_Test(&requests[i], &done, MPI_STATUS_IGNORE);
      if (!done) missing.insert(peers[i]);
    }
    return {missing.begin(), missing.end()};
  }

  void sum(float* data, size_t count) override { reduce(data, count, MPI_FLOAT); }
  void sum(double* data, size_t count) override { reduce(data, count, MPI_DOUBLE); }

  template <class T>
  void reduce(T* data, size_t count, MPI_Datatype type) {
    const Watchdog watchdog(timeout(), complaint(name(rank()), timeout(), "the all-reduce of " + activity()));
    constexpr size_t kMost = kPiece / sizeof(T);
    for (size_t at = 0; at < count; at += kMost)
      check_mpi(MPI_Allreduce(MPI_IN_PLACE, data + at, static_cast<int>(std::min(kMost, count - at)), type,
                              MPI_SUM, MPI_COMM_WORLD),
                "MPI_Allreduce");
  }

  static constexpr int kTag = 1;
};

std::vector<std::string> hosts_of_all(int size) {
  constexpr int kLongest = 256;
  std::vector<char> own(kLongest, '\0'), all(static_cast<size_t>(size) * kLongest, '\0');
  gethostname(own.data(), kLongest - 1);
  check_mpi(MPI_Allgather(own.data(), kLongest, MPI_CHAR, all.data(), kLongest, MPI_CHAR, MPI_COMM_WORLD),
            "MPI_Allgather");
  std::vector<std::string> hosts;
  for (int r = 0; r < size; ++r) hosts.emplace_back(&all[static_cast<size_t>(r) * kLongest]);
  return hosts;
}

}  // namespace

std::shared_ptr<Ranks> join_mpi(double timeout) {
  const Watchdog watchdog(
      timeout, complaint(fmt::format("rank {}", launched_rank()), timeout, "MPI_Init at the start"));
  int provided = 0, rank = 0, size = 0;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
  return std::make_shared<MpiRanks>(rank, hosts_of_all(size), timeout);
}

}  // namespace tandem
#endif
