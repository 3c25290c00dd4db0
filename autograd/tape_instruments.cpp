// The NaN finder, and the clock that a profile reads.
#include "tandem/autograd/tape_instruments.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "tandem/core/array.h"
#include "tandem/core/backend.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"

namespace tandem {
namespace {

double clock_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(now).count();
}

}  // namespace

TapeInstruments::TapeInstruments(TapeOptions options) : options_(std::move(options)), last_ms_(clock_ms()) {}

void TapeInstruments::check_outputs(const char* name, int64_t entry, const std::vector<Tensor>& ys,
                                    const std::vector<Tensor>& inputs) const {
  if (!options_.check_nan) return;
  for (size_t output = 0; output < ys.size(); ++output) {
    if (all_finite(ys[output])) continue;
    for (size_t i = 0; i < inputs.size(); ++i)
      TANDEM_CHECK(!inputs[i].defined() || all_finite(inputs[i]),
                   "{}: input {}, {}, of entry {} is not finite", name, i, inputs[i].summary(), entry);
    detail::fail("{}: output {}, {}, of entry {} is not finite, and its inputs are", name, output,
                 ys[output].summary(), entry);
  }
}

void TapeInstruments::check_gradient(const char* name, int64_t entry, size_t input,
                                     const Tensor& gradient) const {
  TANDEM_CHECK(!options_.check_nan || all_finite(gradient),
               "{}: the gradient of input {}, {}, of entry {} is not finite, and the output's is", name,
               input, gradient.summary(), entry);
}

void TapeInstruments::check_given_gradient(size_t output, const Tensor& y, const Tensor& dy) const {
  TANDEM_CHECK(!options_.check_nan || all_finite(dy),
               "backward: the gradient given for output {}, {}, is not finite", output, y.summary());
}

void TapeInstruments::note_input(const std::shared_ptr<GradNode>& leaf, int64_t entry) {
  if (options_.on_final && used_.insert(leaf.get()).second) first_uses_.emplace_back(entry, leaf);
}

void TapeInstruments::note_passed(int64_t entry) {
  for (; !first_uses_.empty() && first_uses_.back().first >= entry; first_uses_.pop_back())
    options_.on_final(*first_uses_.back().second);
}

double TapeInstruments::forward_done(const char* name, const std::vector<Tensor>& ys) {
  on_gpu_ = on_gpu_ || (!ys.empty() && ys[0].device().is_cuda());
  const double ms = lap();
  if (!options_.profile) return ms;
  OperatorTime& time = time_of(name);
  ++time.calls;
  time.forward_ms += ms;
  return ms;
}

void TapeInstruments::backward_begins() {
  if (hides_inputs_) used_.clear(), first_uses_.clear();
  if (options_.on_backward) options_.on_backward(used_);
  lap();
}

void TapeInstruments::backward_done(const char* name) {
  if (options_.profile) time_of(name).backward_ms += lap();
}

// Returns the milliseconds since the last call.
double TapeInstruments::lap() {
  if constexpr (kWithCuda)
    if (options_.profile && on_gpu_) cuda::synchronize();
  const double now_ms = clock_ms();
  return now_ms - std::exchange(last_ms_, now_ms);
}

OperatorTime& TapeInstruments::time_of(const char* name) {
  for (OperatorTime& time : times_)
    if (time.name == name) return time;
  return times_.emplace_back(OperatorTime{name});
}

std::vector<OperatorTime> TapeInstruments::times() const {
  std::vector<OperatorTime> sorted = times_;
  std::sort(sorted.begin(), sorted.end(), [](const OperatorTime& a, const OperatorTime& b) {
    return a.forward_ms + a.backward_ms > b.forward_ms + b.backward_ms;
  });
  return sorted;
}

}  // namespace tandem
