// Transport: how the memory of a device goes from rank to rank. Memory of the host goes over Ranks. That of GPUs goes
// directly over NCCL if every rank can load it; otherwise what is on a GPU has to be copied to the host and back.
#pragma once
#include <memory>
#include <span>
#include <string>

#include "tandem/core/ranks.h"
#include "tandem/core/tensor.h"

namespace tandem {

class Transport {
 public:
  using Message = Ranks::Message;  // `data` is memory of device()

  virtual ~Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  // Returns the device whose memory is exchanged. What lies on another one must be copied there and back.
  Device device() const { return device_; }
  // Returns the way that tensors on a GPU take, for people, such as "by NCCL 2.28.9"; empty on a CPU.
  const std::string& way() const { return way_; }

  // All ranks must call the functions below in the same order. On a GPU they enqueue work on the compute stream, behind
  // which kernels may read the results; await() must follow before the host waits for the stream in any other way, since
  // that would have no deadline. On the host the work is done when they return. Error: RankLost; what NCCL reports.

  // Sends and receives all messages. Those from one rank to another match in their order and their sizes.
  virtual void exchange(std::span<const Message> sends, std::span<const Message> receives) = 0;
  // The same, but on a GPU beside the compute stream: it begins when what was enqueued there has ended, and what is enqueued
  // there later does not wait for it, until join().
  virtual void exchange_beside(std::span<const Message> sends, std::span<const Message> receives) {
    exchange(sends, receives);
  }
  // Makes later work of the compute stream wait for the calls of exchange_beside() so far.
  virtual void join() {}
  // Adds the elements of `data`, f32 or f64, over all ranks in the order of the communication library: the same bits on
  // every rank, but not for every number of ranks.
  virtual void all_reduce(const Tensor& data) = 0;
  // Waits for what was enqueued since the last call, at most as long as Ranks::timeout() from then on.
  virtual void await() = 0;

 protected:
  Transport(Device device, std::string way) : device_(device), way_(std::move(way)) {}

 private:
  Device device_;
  std::string way_;
};

// Returns the transport for tensors on `device`. All ranks must call it. Error: RankLost; some ranks are on a GPU and some
// on a CPU.
std::unique_ptr<Transport> make_transport(Device device, const std::shared_ptr<Ranks>& ranks);

namespace cuda {
// Returns the transport over NCCL, or null if it cannot be used by some rank; then `problem` says on every rank why. All
// ranks must call it. Error: RankLost.
std::unique_ptr<Transport> make_nccl_transport(const std::shared_ptr<Ranks>& ranks, std::string& problem);
}  // namespace cuda

}  // namespace tandem
