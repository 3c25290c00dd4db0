// Fibers over Boost.Context's jumps, each of which AddressSanitizer is told of.
#include "fiber.h"

#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>
#include <new>

#ifdef TANDEM_SIMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace tandem::simulator {
namespace {

using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

constexpr size_t kPage = 4096;
#ifdef TANDEM_SIMULATOR_ASAN
constexpr size_t kStackSize = 256 * 1024;
void leave(void** fake_stack, const void* bottom, size_t size) {
  __sanitizer_start_switch_fiber(fake_stack, bottom, size);
}
void arrive(void* fake_stack, const void** old_bottom, size_t* old_size) {
  __sanitizer_finish_switch_fiber(fake_stack, old_bottom, old_size);
}
void clean(void* stack) {
  __asan_unpoison_memory_region(stack, kStackSize);
}
#else
constexpr size_t kStackSize = 64 * 1024;
void leave(void**, const void*, size_t) {}
void arrive(void*, const void**, size_t*) {}
void clean(void*) {}
#endif

}  // namespace

Fiber::Fiber() {
  // The lowest page stays out of reach, so that a kernel whose local arrays are too large stops there.
  void* memory = mmap(nullptr, kPage + kStackSize, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kPage, PROT_NONE) != 0) throw std::bad_alloc();
  stack_ = static_cast<unsigned char*>(memory) + kPage;
}

struct Fiber::Entry {
  static void run(transfer_t from) {
    Fiber& self = *static_cast<Fiber*>(from.data);
    arrive(nullptr, &self.caller_stack_, &self.caller_size_);
    self.caller_ = from.fctx;
    self.body_();
    self.context_ = nullptr;
    leave(nullptr, self.caller_stack_, self.caller_size_);
    jump_fcontext(self.caller_, &self);
  }
};

void Fiber::start(void (*body)()) {
  if (context_) clean(stack_);  // it was left in the middle of a function
  body_ = body;
  context_ = make_fcontext(stack_ + kStackSize, kStackSize, Entry::run);
}

void Fiber::resume() {
  void* fake_stack = nullptr;
  leave(&fake_stack, stack_, kStackSize);
  const transfer_t back = jump_fcontext(context_, this);
  arrive(fake_stack, nullptr, nullptr);
  if (context_) context_ = back.fctx;
}

void Fiber::pause() {
  leave(&fake_stack_, caller_stack_, caller_size_);
  const transfer_t back = jump_fcontext(caller_, this);
  arrive(fake_stack_, &caller_stack_, &caller_size_);
  caller_ = back.fctx;
}

}  // namespace tandem::simulator
