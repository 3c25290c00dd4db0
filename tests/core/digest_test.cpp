// Digests: values that xxHash publishes, and bytes that come in pieces.
#include "tandem/core/digest.h"

#include <doctest/doctest.h>

#include <random>
#include <string>

namespace tandem::testing {

TEST_CASE("digest: the digest of nothing is that of xxHash's XXH128") {
  CHECK(Digest().hex() == "99aa06d3014798d86001c324468d497f");
  CHECK(digest_of(nullptr, 0) == "99aa06d3014798d86001c324468d497f");
  CHECK(Digest().hex().size() == Digest::kCharacters);
}

TEST_CASE("digest: pieces give the digest of the whole, and a changed bit gives another") {
  std::mt19937 random(1);
  std::string bytes(5000, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  const std::string whole = digest_of(bytes.data(), bytes.size());
  for (int round = 0; round < 20; ++round) {
    Digest digest;
    for (size_t at = 0; at < bytes.size();) {
      const size_t count = std::min<size_t>(random() % 700, bytes.size() - at);
      digest.update(bytes.data() + at, count);
      at += count;
    }
    CHECK(digest.hex() == whole);
    std::string changed = bytes;
    changed[random() % changed.size()] ^= static_cast<char>(1 << random() % 8);
    CHECK(digest_of(changed.data(), changed.size()) != whole);
  }
}

}  // namespace tandem::testing
