// XXH3 with 128 bits, compiled from the header of xxHash, so that nothing is linked.
#include "tandem/core/digest.h"

#define XXH_INLINE_ALL
#include <fmt/core.h>
#include <xxhash.h>

namespace tandem {

// Allocated with the alignment of 64 bytes that the type demands.
struct Digest::State {
  XXH3_state_t state;
};

Digest::Digest() : state_(std::make_unique<State>()) {
  XXH3_128bits_reset(&state_->state);
}
Digest::~Digest() = default;
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;

void Digest::update(const void* data, size_t bytes) {
  if (bytes > 0) XXH3_128bits_update(&state_->state, data, bytes);
}

std::string Digest::hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(&state_->state);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

std::string digest_of(const void* data, size_t bytes) {
  Digest digest;
  digest.update(data, bytes);
  return digest.hex();
}

}  // namespace tandem
