// A stack of its own on which a function runs, pauses and goes on: one thread of a simulated block.
#pragma once
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define TANDEM_SIMULATOR_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TANDEM_SIMULATOR_ASAN
#endif
#endif

namespace tandem::simulator {

class Fiber {
 public:
  Fiber();  // takes 64 KiB of address space for the stack, 256 KiB under AddressSanitizer; kept for ever
  Fiber(const Fiber&) = delete;

  // Makes the next resume() call `body` on an empty stack. What ran there before is forgotten, not unwound.
  void start(void (*body)());
  // Runs the body until it pauses or ends.
  void resume();
  // Called in the body: goes back to where resume() was called.
  void pause();

 private:
  struct Entry;
  unsigned char* stack_;     // its lowest byte
  void* context_ = nullptr;  // where to go on
  void* caller_ = nullptr;   // where to go back to
  void (*body_)() = nullptr;
  // What AddressSanitizer wants to know of either side.
  void* fake_stack_ = nullptr;
  const void* caller_stack_ = nullptr;
  size_t caller_size_ = 0;
};

}  // namespace tandem::simulator
