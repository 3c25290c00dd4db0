// The listener of a thread, and the scopes in the names of values.
#include "tandem/core/tap.h"

#include <utility>

#include "tandem/core/check.h"

namespace tandem {
namespace {

// Sets a pointer for as long as it lives.
class Replaced {
 public:
  Replaced(Tap*& place, Tap* value) : place_(place), before_(std::exchange(place, value)) {}
  ~Replaced() { place_ = before_; }
  Replaced(const Replaced&) = delete;
  Replaced& operator=(const Replaced&) = delete;

 private:
  Tap*& place_;
  Tap* before_;
};

}  // namespace

Tap::Tap(Listener listener) : listener_(std::move(listener)), outer_(current_) {
  TANDEM_CHECK(listener_, "tap: the listener is an empty function; give one that takes a name and a tensor");
  current_ = this;
}

Tap::~Tap() {
  current_ = outer_;
}

void Tap::offer(std::string_view name, const Tensor& value) {
  Tap* const tap = current_;
  if (!tap) return;
  const Replaced silence(current_, nullptr);
  tap->listener_(tap->prefix_ + std::string(name), value.detach());
}

void TapScope::enter(std::string_view name, int64_t index) {
  tap_ = Tap::current_;
  length_ = tap_->prefix_.size();
  tap_->prefix_.append(name).append(".").append(std::to_string(index)).append(".");
}

void TapScope::leave() {
  tap_->prefix_.resize(length_);
}

}  // namespace tandem
