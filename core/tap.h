// Tap: named values of a forward pass, such as attention weights, gates and cell states, for whoever listens.
//
//     std::map<std::string, Tensor> values;
//     {
//       const Tap tap([&values](const std::string& name, const Tensor& value) { values[name] = value; });
//       model.logits(tokens, state, options);
//     }
//     values.at("layers.0.sru_scan.forget");  // (T, B, D)
//
// Anything that runs in a forward pass may offer a value, and computes it only if somebody listens:
//
//     if (Tap::is_heard()) Tap::offer("sru_scan.forget", forget_gates(in));
//
// Listening changes no result: what is offered is computed beside the results, in f64 where it has to be computed at all.
// By its shape a value says what it is, so that a listener need not know operators or models:
//
//     (B, heads, T, keys)   attention weights, before dropout: rows that sum to 1. The last T keys are the queries' own
//                           positions, those before them memory
//     (T, B, D)             a value for each time step and unit
//     (1)                   a number of the layer, the same at all time steps
//
// A layer that is run again in backward (autograd/recompute.h) offers its values again.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "tandem/core/tensor.h"

namespace tandem {

class Tap {
 public:
  // Gets the name of a value, with the scopes that it was offered in before it, and the value: without gradient, in any
  // floating dtype, on any device. It may keep the tensor, and must not write to it. What it computes is offered to nobody.
  using Listener = std::function<void(const std::string& name, const Tensor& value)>;

  // Hears what this thread offers until it is destroyed. Taps nest, and the innermost alone hears. Destroy it on the same
  // thread, the innermost first.
  explicit Tap(Listener listener);
  ~Tap();
  Tap(const Tap&) = delete;
  Tap& operator=(const Tap&) = delete;

  // Returns whether this thread has a listener. It costs the load of a pointer.
  static bool is_heard() { return current_ != nullptr; }
  // Gives a value to the listener, if there is one. Error: whatever the listener throws.
  static void offer(std::string_view name, const Tensor& value);

 private:
  friend class TapScope;

  Listener listener_;
  std::string prefix_;  // the scopes that are open, each with a point after it
  Tap* outer_;
  inline static constinit thread_local Tap* current_ = nullptr;
};

// While one lives, what its thread offers is named "NAME.INDEX." and so on. Does nothing if nobody listens.
class TapScope {
 public:
  TapScope(std::string_view name, int64_t index) {
    if (Tap::current_) [[unlikely]]
      enter(name, index);
  }
  ~TapScope() {
    if (tap_) [[unlikely]]
      leave();
  }
  TapScope(const TapScope&) = delete;
  TapScope& operator=(const TapScope&) = delete;

 private:
  void enter(std::string_view name, int64_t index);
  void leave();

  Tap* tap_ = nullptr;
  size_t length_ = 0;  // of the prefix outside of this scope
};

}  // namespace tandem
