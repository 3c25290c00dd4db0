// The word-level presets at full size: parameter counts as published or as the authors' code gives them.
#include <doctest/doctest.h>

#include "tests/support/parameter_count.h"

namespace tandem::testing {
namespace {

constexpr int64_t kWikitext = 267735, kLm1b = 793471;

}  // namespace

TEST_CASE("word level: SRU++'s parameter counts") {
  CHECK(parameter_count("srupp", "wt103-base", kWikitext) == 147676036);
  CHECK(parameter_count("srupp", "wt103-large", kWikitext) == 231690116);
  CHECK(parameter_count("srupp", "wt103-large-ratio8", kWikitext) == 233741476);
  CHECK(parameter_count("srupp", "wt103-large-ratio8-k5", kWikitext) == 224884892);
  CHECK(parameter_count("srupp", "lm1b-base", kLm1b) == 328313803);
  CHECK(parameter_count("srupp", "lm1b-large", kLm1b) == 465318339);
}

TEST_CASE("word level: Transformer-XL's and Baevski and Auli's parameter counts") {
  CHECK(parameter_count("transformer-xl", "wt103-base", kWikitext) == 151107538);
  // Padded to a multiple of eight by fairseq; published as 247M.
  CHECK(parameter_count("transformer", "wt103", 267744) / 100000 == 2469);
}

}  // namespace tandem::testing
