// Times work by the device's own clock.
#pragma once
#include <functional>

namespace tandem::cuda {

// Returns the milliseconds between the beginning and the end of the work that `enqueue` puts on the compute
// stream, and waits for that work. Where the host is slower than the device, the time in which the device
// waits for the host counts.
double time_ms(const std::function<void()>& enqueue);

}  // namespace tandem::cuda
