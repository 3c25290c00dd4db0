// Timed sums of gradients over ranks.
#include "tools/bench/exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tandem/autograd/leaf.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/models/training/gradient_sum.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/device.h"
#include "tandem/tools/run/output.h"
#include "tandem/tools/run/ranks.h"
#include "tools/bench/manual.h"
#include "tools/bench/timing.h"

namespace tandem {
namespace {

struct Options {
  RankOptions ranks;
  std::string device = "cpu";
  std::vector<double> megabytes{0.01, 0.1, 1, 5, 50};
  int rounds = 11;
};

// Times sums of `elements` f32 values, one shard a rank, and checks the first. Returns the times of the slowest rank.
Spread time_sums(const std::shared_ptr<Ranks>& ranks, const std::shared_ptr<Transport>& transport,
                 Device device, int64_t elements, Reduce reduce, int rounds) {
  const Tensor parameter = requires_grad(zeros({elements}, DType::f32, device));
  GradientSum sum({{"parameter", parameter}}, ranks->size(), ranks, transport);
  sum.set_reduce(reduce);
  const Tensor loss({1}, DType::f64, device);
  std::vector<double> ms;
  for (int round = 0; round <= rounds; ++round) {
    parameter.node()->grad = full({elements}, ranks->rank() + 1, DType::f32, device);
    fill(loss, ranks->rank());
    loss.item();        // waits for the device
    ranks->largest(0);  // all begin together
    const double own = time_ms([&] {
      sum.begin();
      sum.push(loss);
      sum.exchange();
      sum.give_back(loss);
    });
    const double n = ranks->size();
    const Tensor result = grad(parameter).to(Device::cpu());
    for (const int64_t i : {int64_t{0}, elements / 2, elements - 1}) {
      const float found = result.span<float>()[static_cast<size_t>(i)];
      TANDEM_CHECK(found == static_cast<float>(n * (n + 1) / 2),
                   "bench exchange: element {} of the sum over {} ranks is {}, and should be {}", i, n, found,
                   n * (n + 1) / 2);
    }
    TANDEM_CHECK(loss.item() == n * (n - 1) / 2,
                 "bench exchange: the losses of {} ranks sum to {}, and should to {}", n, loss.item(),
                 n * (n - 1) / 2);
    // Nanoseconds, because ranks compare integers.
    const auto slowest = static_cast<double>(ranks->largest(static_cast<int64_t>(own * 1e6)));
    if (round > 0) ms.push_back(slowest / 1e6);
  }
  return spread_of(ms);
}

void run(const Options& options, const std::shared_ptr<Ranks>& ranks) {
  if (ranks->size() == 1)
    throw UsageError(
        "bench exchange: there is one rank, which exchanges nothing; give --ranks=2, or start it by mpirun");
  choose_own_gpu(*ranks);
  const Device device = resolve_device(options.device);
  const std::string cores = share_cores(*ranks);
  if (!cores.empty()) say(cores + "\n");
  const std::shared_ptr<Transport> transport = make_transport(device, ranks);
  say(ranks_line(*ranks, *transport, ranks->size(), "exact and fast") + "\n");
  say(fmt::format("{:>9} {:>9} {:>9} {:>26}  {:>11}\n", "gradient", "sent", "", "ms, median (min .. max)",
                  "sent a rank"));
  const double n = ranks->size();
  for (const double megabytes : options.megabytes) {
    const auto elements =
        std::max<int64_t>(static_cast<int64_t>(megabytes * 1e6 / sizeof(float)), ranks->size());
    const double bytes = static_cast<double>(elements) * sizeof(float), sent = 2 * (n - 1) / n * bytes;
    for (const auto& [name, reduce] : {std::pair{"exact", Reduce::exact}, {"fast", Reduce::fast}}) {
      ranks->set_activity(fmt::format("the sum of {} elements, {}", elements, name));
      const Spread ms = time_sums(ranks, transport, device, elements, reduce, options.rounds);
      say(fmt::format("{:>6.4g} MB {:>6.4g} MB {:>9} {:>26}  {:>6.3g} GB/s\n", bytes / 1e6, sent / 1e6, name,
                      spread_text(ms), sent / (ms.median * 1e6)));
    }
  }
}

}  // namespace

int exchange_main(int argc, char** argv) {
  Flags flags("bench exchange",
              "Times how ranks add their gradients, by size, exactly and by MPI's or NCCL's own reduction.",
              kExchangeManual);
  Options options;
  add_start_flags(flags, options.ranks);
  add_device_flag(flags, options.device);
  flags.add("--megabytes", options.megabytes, "Sizes of the gradient in MB, f32 [0.01,0.1,1,5,50].")
      .comma_separated();
  flags.add("--rounds", options.rounds, "Number of timings; the median counts.").positive().show_default();
  return run_main(flags, argc, argv, [&options, argc, argv] {
    std::vector<std::string> arguments{"exchange"};
    arguments.insert(arguments.end(), argv + 1, argv + argc);
    run_on_ranks(options.ranks, "", arguments,
                 [&options](const std::shared_ptr<Ranks>& ranks) { run(options, ranks); });
  });
}

}  // namespace tandem
