// The transport of host memory, and the choice of one.
#include "tandem/core/transport.h"

#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"

namespace tandem {
namespace {

class HostTransport : public Transport {
 public:
  HostTransport(std::shared_ptr<Ranks> ranks, std::string way)
      : Transport(Device::cpu(), std::move(way)), ranks_(std::move(ranks)) {}

  void exchange(std::span<const Message> sends, std::span<const Message> receives) override {
    ranks_->exchange(sends, receives);
  }
  void all_reduce(const Tensor& data) override {
    dispatch_float(data.dtype(), "all-reduce", [&]<class T>() { ranks_->all_reduce(data.span<T>()); });
  }
  void await() override {}

 private:
  std::shared_ptr<Ranks> ranks_;
};

}  // namespace

std::unique_ptr<Transport> make_transport(Device device, const std::shared_ptr<Ranks>& ranks) {
  const std::vector<std::string> devices = ranks->gather(device.is_cuda() ? "a GPU" : "the CPU");
  for (int r = 1; r < ranks->size(); ++r)
    TANDEM_CHECK(devices[static_cast<size_t>(r)] == devices[0],
                 "{} and {} run on {} and {}; give all ranks the same kind of device", ranks->name(0),
                 ranks->name(r), devices[0], devices[static_cast<size_t>(r)]);
  std::string way;
  if constexpr (kWithCuda) {
    if (device.is_cuda() && ranks->size() > 1) {
      if (auto nccl = cuda::make_nccl_transport(ranks, way)) return nccl;
      way = "through the host's memory, since " + way;
    }
  }
  return std::make_unique<HostTransport>(ranks, way);
}

}  // namespace tandem
