// DigestVerification: switches the check of files' digests on or off for a scope.
#pragma once
#include "tandem/core/safetensors.h"

namespace tandem::testing {

class DigestVerification {
 public:
  explicit DigestVerification(bool verify) : before_(verify_digests()) { set_verify_digests(verify); }
  ~DigestVerification() { set_verify_digests(before_); }
  DigestVerification(const DigestVerification&) = delete;
  DigestVerification& operator=(const DigestVerification&) = delete;

 private:
  bool before_;
};

}  // namespace tandem::testing
