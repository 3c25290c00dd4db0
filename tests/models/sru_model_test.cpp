// SRU: exact parameter counts of the published sizes.
#include <doctest/doctest.h>

#include "tests/support/parameter_count.h"
#include "tests/support/small_models.h"

namespace tandem::testing {

MODEL_CASES(sru) {
  add_small_model(R"({"model":"sru","d":16,"d_embedding":12,"d_projected":6,"layers":2,
                      "highway_bias":-1})");
  add_small_model(R"({"model":"sru","d":16,"layers":2,"highway_bias":-1})");
}

TEST_CASE("sru: exact parameter counts; the first layer is projected only where that makes it smaller") {
  for (const auto& known : {std::pair<const char*, int64_t>{"enwik8", 48805325},
                            {"enwik8-3056", 47083238},
                            {"enwik8-1312", 37577238},
                            {"enwik8-1152", 37100918}}) {
    CAPTURE(known.first);
    CHECK(parameter_count("sru", known.first, 205) == known.second);
  }
}

}  // namespace tandem::testing
