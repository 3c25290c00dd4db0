// How long the device takes for work, by its own clock.
#pragma once
#include <functional>

namespace tandem::cuda {

// Milliseconds between the beginning and the end of what `enqueue` puts on the compute stream, which it waits
// for. Where the host is slower than the device, waiting for the host counts.
double time_ms(const std::function<void()>& enqueue);

}  // namespace tandem::cuda
