// Stacks: reading the list of layers; each layer is that of its own model; errors.
#include "tandem/models/stack/stack.h"

#include <doctest/doctest.h>

#include "tests/support/errors.h"
#include "tests/support/small_models.h"

namespace tandem::testing {
namespace {

using Names = std::vector<std::string>;

StackConfig small_stack(const std::string& layers) {
  StackConfig config;
  config.vocabulary = 7;
  config.layers = layers;
  config.d = 8;
  config.d_projected = 4;
  config.heads = 2;
  config.d_inner = 12;
  return config;
}

int64_t count(const std::string& layers) {
  return make_stack(small_stack(layers), 1)->parameter_count();
}

}  // namespace

MODEL_CASES(stack) {
  add_small_model(R"({"model":"stack",
                      "layers":"srupp,attention,lstm,feed-forward,qrnn,srupp-projected,sru,min-gru,rg-lru,gated-delta",
                      "d":12,"d_projected":6,"heads":2,"d_inner":16})");
}

TEST_CASE("stack: the list names layers from the input to the output") {
  CHECK(stack_layers("srupp") == Names{"srupp"});
  CHECK(stack_layers("srupp*2,qrnn,attention") == Names{"srupp", "srupp", "qrnn", "attention"});
  CHECK(stack_layers("lstm*1,lstm*3") == Names{"lstm", "lstm", "lstm", "lstm"});
}

TEST_CASE("stack: errors in the list name the place") {
  const auto error = [](const std::string& text) { return error_of([&text] { stack_layers(text); }); };
  CHECK(contains(error("srupp,gru"), "\"gru\", number 2 of \"srupp,gru\", is not a layer; there are srupp"));
  CHECK(contains(error(""), "\"\", number 1"));
  CHECK(contains(error("sru,,sru"), "\"\", number 2"));
  CHECK(contains(error("sru,"), "\"\", number 2"));
  CHECK(contains(error(" sru"), "\" sru\", number 1"));
  for (const char* wrong :
       {"sru*0", "sru*-1", "sru*", "sru*2x", "sru*2*2", "sru*1.5", "sru*99999999999999999999"})
    CHECK(contains(error(wrong), "the count must be a number from 1 to"));
}

TEST_CASE("stack: layers have the parameters of their own models") {
  const int64_t d = 8, p = 4, inner = 12;
  const int64_t ends = 2 * 7 * d + 7;
  CHECK(count("srupp") - ends == 4 * d * p + 2 * p * p + 2 * p + 1 + 4 * d);
  CHECK(count("srupp-projected") - ends == 4 * d * p + 2 * p + 4 * d);
  CHECK(count("sru") - ends == p * d + 3 * d * p + 4 * d);
  CHECK(count("qrnn") - ends == 3 * d * 2 * d + 3 * d);
  CHECK(count("lstm") - ends == 8 * d * d + 8 * d);
  CHECK(count("min-gru") - ends == 6 * d * d + d * d + 4 * d + 2 * d + d);  // minGRU; filter, mixing; norm
  // W_y, W_x, W_o and biases; the filter; L; two gates of two blocks; the norm.
  CHECK(count("rg-lru") - ends == 3 * (d * d + d) + 5 * d + d + 2 * (d * d / 2 + d) + d);
  // Queries, keys, values, gate and output; three filters; beta, decay with dt and A, for two heads; both norms.
  CHECK(count("gated-delta") - ends == 5 * d * d + 3 * 4 * d + 2 * 2 * d + 2 * 2 + d + d / 2);
  CHECK(count("attention") - ends == 5 * d * d + 2 * d + 2 * d);  // q, k, v, r, output; u, v; norm
  CHECK(count("feed-forward") - ends == 2 * d * inner + inner + d + 2 * d);
  CHECK(count("srupp*2,lstm") - ends == 2 * (count("srupp") - ends) + count("lstm") - ends);
}

TEST_CASE("stack: errors") {
  const auto error = [](const StackConfig& config) { return error_of([&config] { make_stack(config, 1); }); };
  StackConfig config = small_stack("attention");
  config.heads = 3;
  CHECK(contains(error(config), "heads must divide d: d is 8, heads 3"));
  config = small_stack("srupp");
  config.d_projected = 0;
  CHECK(contains(error(config), "srupp needs a d' above 0"));
  config = small_stack("sru");
  config.dropout = 1;
  CHECK(contains(error(config), "dropout 1"));
  config.dropout = 0;
  config.d = 0;
  CHECK(contains(error(config), "d 0"));
}

}  // namespace tandem::testing
