// minGRU: the losses and gradients of the package minGRU-pytorch, parameter counts, errors.
#include "tandem/models/min_gru/min_gru.h"

#include <doctest/doctest.h>

#include "tandem/models/registry.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/parameter_count.h"
#include "tests/support/recurrence_golden.h"
#include "tests/support/small_models.h"

namespace tandem::testing {
namespace {

// Returns the package's name of a parameter: "layers.2.gate.weight" is a half of
// "layers.1.2.to_hidden_and_gate.weight". Each of its layers is two of ours.
std::string authors_name(const std::string& name) {
  if (name == "embedding.weight") return "token_emb.weight";
  if (name == "output.weight") return "to_logits.weight";
  if (name == "layers.4.norm.scale") return "norm.weight";
  static const NamePairs mixing = {
      {"conv.filter", "0.net.0.weight"},
      {"conv.bias", "0.net.0.bias"},
      {"conv.mix.weight", "0.net.1.weight"},
      {"conv.mix.bias", "0.net.1.bias"},
      {"norm.scale", "1.weight"},
      {"gate.weight", "2.to_hidden_and_gate.weight"},
      {"candidate.weight", "2.to_hidden_and_gate.weight"},
      {"output.weight", "2.to_out.weight"},
  };
  static const NamePairs feed_forward = {
      {"norm.scale", "3.weight"},   {"in.weight", "4.0.weight"}, {"in.bias", "4.0.bias"},
      {"out.weight", "4.2.weight"}, {"out.bias", "4.2.bias"},
  };
  return name_in_layer(name, "layers", mixing, feed_forward);
}

// Returns our part of an authors' tensor: the candidate is the first half of the rows, the gate the second.
Tensor our_part(const std::string& name, const Tensor& theirs) {
  const int64_t rows = theirs.size(0);
  if (name.ends_with("candidate.weight")) return theirs.view_rows(0, rows / 2);
  if (name.ends_with("gate.weight")) return theirs.view_rows(rows / 2, rows);
  return theirs;
}

MinGruConfig golden_config(DType dtype, Device device) {
  MinGruConfig config;
  config.vocabulary = 29;
  config.d = 12;
  config.d_inner = 18;
  config.d_feed_forward = 24;
  config.layers = 2;
  config.norm_eps = 2.220446049250313e-16;
  config.dtype = dtype;
  config.device = device;
  return config;
}

}  // namespace

MODEL_CASES(min_gru) {
  add_small_model(R"({"model":"min-gru","d":12,"d_inner":16,"d_feed_forward":20,"layers":2})");
  add_small_model(
      R"({"model":"min-gru","d":12,"d_inner":16,"d_feed_forward":20,"layers":2,"conv_width":0,"tied":true})");
}

TEST_CASE("min-gru golden: losses and gradients of the package, in one pass and in segments") {
  for (const Device device : test_devices())
    for (const auto& [dtype, tolerance] : {std::pair{DType::f64, 1e-12}, {DType::f32, 1e-4}})
      check_recurrence_golden("min_gru", *make_min_gru(golden_config(dtype, device), 1),
                              {.authors_name = authors_name, .our_part = our_part, .centred = {"scale"}},
                              device, tolerance);
}

TEST_CASE("min-gru: exact parameter counts") {
  CHECK(parameter_count("min-gru", "laptop", 205) == 1404640);
  CHECK(parameter_count("min-gru", "laptop-3m", 205) == 3105360);
  CHECK(parameter_count("min-gru", "shakespeare", 65) == 6700800);
}

TEST_CASE("min-gru: errors") {
  const auto error = [](const std::string& fields) {
    return error_of([&] { make_model(R"({"model":"min-gru","vocabulary":5,)" + fields + "}", 1); });
  };
  CHECK(error(R"("d":0)") ==
        "min-gru: sizes must be positive: vocabulary 5, d 0, d_inner 768, d_feed_forward 1536, layers 3, "
        "conv_width 4");
  CHECK(contains(error(R"("d_inner":-1)"), "d_inner -1"));
  CHECK(contains(error(R"("d_feed_forward":0)"), "d_feed_forward 0"));
  CHECK(contains(error(R"("layers":0)"), "layers 0"));
  CHECK(contains(error(R"("conv_width":-1)"), "conv_width -1"));
  CHECK(error(R"("conv_width":1)") ==
        "min-gru: conv_width 1; a filter needs at least 2 steps, and 0 leaves it out");
  CHECK(error(R"("dropout":1.0)") == "min-gru: dropout 1 must be in [0, 1)");
  CHECK(contains(error(R"("norm_eps":0.0)"), "norm_eps 0"));
}

}  // namespace tandem::testing
