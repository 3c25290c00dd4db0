// Digest: 128 bits by which damage to bytes is found (XXH3 of the library xxHash). It is fast, not cryptographic: who
// alters bytes on purpose can also alter their digest.
#pragma once
#include <cstddef>
#include <memory>
#include <string>

namespace tandem {

class Digest {
 public:
  static constexpr size_t kCharacters = 32;  // of hex()

  Digest();
  ~Digest();
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;

  // Appends bytes. The pieces do not matter, only their sequence.
  void update(const void* data, size_t bytes);
  // Returns the digest of all bytes so far, 32 hex digits. More bytes may follow.
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Returns the digest of these bytes alone.
std::string digest_of(const void* data, size_t bytes);

}  // namespace tandem
