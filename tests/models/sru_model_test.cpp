// SRU: exact parameter counts of the published sizes.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tandem/models/presets.h"
#include "tandem/models/registry.h"
#include "tests/support/small_models.h"

namespace tandem::testing {

MODEL_CASES(sru) {
  add_small_model(R"({"model":"sru","d":16,"d_embedding":12,"d_projected":6,"layers":2,
                      "highway_bias":-1})");
  add_small_model(R"({"model":"sru","d":16,"layers":2,"highway_bias":-1})");
}

TEST_CASE("sru: exact parameter counts; the first layer is projected only where that makes it smaller") {
  for (const auto& [name, count] : {std::pair<const char*, int64_t>{"enwik8", 48805325},
                                    {"enwik8-3056", 47083238},
                                    {"enwik8-1312", 37577238},
                                    {"enwik8-1152", 37100918}}) {
    nlohmann::json config = nlohmann::json::parse(preset("sru", name).model_config);
    config["vocabulary"] = 205;
    const std::string text = config.dump();
    CAPTURE(text);
    CHECK(make_model(text, 1)->parameter_count() == count);
  }
}

}  // namespace tandem::testing
