// Compares sampling distributions with a naive definition, and generation with teacher forcing.
#include "tandem/models/training/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tandem/core/array.h"
#include "tandem/core/random.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/model_file.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/golden.h"

namespace tandem::testing {
namespace {

std::vector<double> softmax_of(std::vector<double> logits, double temperature = 1) {
  double sum = 0;
  for (double& x : logits) sum += x = std::exp(x / temperature);
  for (double& x : logits) x /= sum;
  return logits;
}

// The definition, one option at a time: counts the ids that are more probable and sums their probabilities.
std::vector<double> naive(const std::vector<double>& logits, const SamplingOptions& options) {
  const size_t n = logits.size();
  const auto before = [&logits](size_t a, size_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  };
  std::vector<double> p = softmax_of(logits, options.temperature);
  const auto keep = [&p, n](const std::vector<bool>& kept) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += kept[i] ? p[i] : 0;
    for (size_t i = 0; i < n; ++i) p[i] = kept[i] ? p[i] / sum : 0;
  };
  std::vector<bool> kept(n, true);
  for (size_t i = 0; i < n && options.top_k > 0; ++i) {
    int64_t rank = 0;
    for (size_t j = 0; j < n; ++j) rank += before(j, i);
    kept[i] = rank < options.top_k;
  }
  keep(kept);
  for (size_t i = 0; i < n; ++i) {
    double above = 0;
    for (size_t j = 0; j < n; ++j) above += before(j, i) ? p[j] : 0;
    kept[i] = kept[i] && (options.top_p == 1 || above < options.top_p);
  }
  keep(kept);
  return p;
}

TEST_CASE("sampling: temperature, top-k and top-p are what their definitions say") {
  Random random(5);
  for (const size_t n : {1, 2, 7, 99}) {
    std::vector<double> logits(n);
    for (double& x : logits) x = 3 * random.normal();
    if (n > 4) logits[4] = logits[2];
    for (const double temperature : {0.25, 1.0, 1.7})
      for (const int64_t top_k : {0, 1, 3, 5, 200})
        for (const double top_p : {1e-9, 0.3, 0.8, 0.999, 1.0}) {
          CAPTURE(n);
          CAPTURE(temperature);
          CAPTURE(top_k);
          CAPTURE(top_p);
          const SamplingOptions options{.temperature = temperature, .top_k = top_k, .top_p = top_p};
          const std::vector<double> actual = sampling_distribution(logits, options);
          const std::vector<double> expected = naive(logits, options);
          REQUIRE(actual.size() == n);
          for (size_t i = 0; i < n; ++i) {
            CHECK(std::abs(actual[i] - expected[i]) < 1e-14);
            CHECK((actual[i] == 0) == (expected[i] == 0));
          }
          CHECK(std::accumulate(actual.begin(), actual.end(), 0.0) == doctest::Approx(1).epsilon(1e-14));
        }
  }
}

TEST_CASE("sampling: small cases by hand") {
  using V = std::vector<double>;
  const auto logit = [](double p) { return std::log(p); };
  const V logits = {logit(0.1), logit(0.5), logit(0.15), logit(0.25)};
  const auto close = [](const V& a, const V& b) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                              [](double x, double y) { return std::abs(x - y) < 1e-14; });
  };
  CHECK(close(sampling_distribution(logits, {}), {0.1, 0.5, 0.15, 0.25}));
  CHECK(close(sampling_distribution(logits, {.top_k = 2}), {0, 2.0 / 3, 0, 1.0 / 3}));
  CHECK(close(sampling_distribution(logits, {.top_p = 0.49}), {0, 1, 0, 0}));
  CHECK(close(sampling_distribution(logits, {.top_p = 0.6}), {0, 2.0 / 3, 0, 1.0 / 3}));
  CHECK(close(sampling_distribution(logits, {.top_p = 0.76}), {0, 0.5 / 0.9, 0.15 / 0.9, 0.25 / 0.9}));
  // top-p applies to what top-k left: of 2/3 and 1/3 it needs one to reach 0.6.
  CHECK(close(sampling_distribution(logits, {.top_k = 2, .top_p = 0.6}), {0, 1, 0, 0}));
  CHECK(close(sampling_distribution(logits, {.temperature = 0}), {0, 1, 0, 0}));
  CHECK(close(sampling_distribution(V{2, 2, 1}, {.temperature = 0}), {1, 0, 0}));
  CHECK(close(sampling_distribution(V{1, 1, 1}, {.top_k = 2}), {0.5, 0.5, 0}));
  // Temperature 1/2 squares the probabilities.
  CHECK(close(sampling_distribution(V{logit(0.25), logit(0.75)}, {.temperature = 0.5}), {0.1, 0.9}));
  // Neither large logits nor a tiny temperature overflow.
  CHECK(close(sampling_distribution(V{1e300, -1e300, 1e300}, {}), {0.5, 0, 0.5}));
  CHECK(close(sampling_distribution(V{1, 2}, {.temperature = 1e-308}), {0, 1}));
}

TEST_CASE("sampling: errors") {
  const std::vector<double> logits = {0.5, 1};
  const auto error = [&logits](const SamplingOptions& options) {
    return error_of([&] { sampling_distribution(logits, options); });
  };
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  CHECK(contains(error({.temperature = -1}), "temperature is -1"));
  CHECK(contains(error({.temperature = kNan}), "temperature is nan"));
  CHECK(contains(error({.top_k = -2}), "top_k is -2"));
  CHECK(contains(error({.top_p = 0}), "top_p is 0"));
  CHECK(contains(error({.top_p = 1.5}), "top_p is 1.5"));
  CHECK(contains(error({.top_p = kNan}), "top_p is nan"));
  CHECK(contains(error_of([] {
                   sampling_distribution(std::vector<double>{1, kNan}, {});
                 }),
                 "logit of id 1 is nan"));
  CHECK(contains(error_of([] { sampling_distribution({}, {}); }), "no logits"));
}

TEST_CASE("sampling: log-probabilities are those of the logits, also where these are large") {
  const std::vector<double> two = log_probabilities(std::vector<double>{1, 1 + std::log(3.0)});
  CHECK(two[0] == doctest::Approx(std::log(0.25)));
  CHECK(two[1] == doctest::Approx(std::log(0.75)));
  CHECK(log_probabilities(std::vector<double>{1e300, -1e300}) == std::vector<double>{0, -2e300});
  const std::vector<double> again = log_probabilities(two);
  CHECK(again[0] == doctest::Approx(two[0]));
  CHECK(contains(error_of([] { log_probabilities({}); }), "no logits"));
}

TEST_CASE("sampling: draws have the frequencies of the distribution, and never an id without probability") {
  Random random(3);
  std::vector<int> counts(4);
  for (int i = 0; i < 4000; ++i) ++counts[static_cast<size_t>(draw_token({0, 0.5, 0, 0.5}, random))];
  CHECK(counts[0] + counts[2] == 0);
  CHECK(std::abs(counts[1] - 2000) < 150);
}

LoadedModel golden_model(DType dtype, int64_t heads = 1) {
  return load_model_file(golden_path("srupp/weights.safetensors"), heads, dtype);
}

std::string golden_text(size_t bytes) {
  return read_text(golden_path("srupp/text.bin")).substr(0, bytes);
}

// Returns the probabilities of every next token for the columns ids (T, B), read in segments of `window` as
// evaluation does.
std::vector<double> teacher_forced(const LanguageModel& model, const Tensor& ids, int64_t window) {
  std::vector<double> all;
  State state;
  ForwardOptions pass;
  pass.context = {.memory = window, .same_length = true};
  const int64_t vocabulary = model.vocabulary_size();
  for (int64_t t = 0; t < ids.size(0); t += window) {
    const Tensor segment = ids.view_rows(t, std::min(t + window, ids.size(0)));
    const std::vector<double> logits = model.logits(segment, state, pass).to(DType::f64).to_vector<double>();
    for (auto row = logits.begin(); row != logits.end(); row += vocabulary)
      for (const double p : softmax_of({row, row + vocabulary})) all.push_back(p);
  }
  return all;
}

std::vector<double> one_at_a_time(const LanguageModel& model, const Tensor& ids, int64_t window) {
  std::vector<double> all;
  const std::unique_ptr<Decoder> decoder = model.decoder(ids.size(1), {.memory = window});
  const int64_t vocabulary = model.vocabulary_size();
  for (int64_t t = 0; t < ids.size(0); ++t) {
    const Tensor step = ids.view_rows(t, t + 1).view_as({ids.size(1)});
    const std::vector<double> logits = decoder->step(step).to(DType::f64).to_vector<double>();
    for (auto row = logits.begin(); row != logits.end(); row += vocabulary)
      for (const double p : softmax_of({row, row + vocabulary})) all.push_back(p);
  }
  return all;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(a[i] - b[i]) <= largest)) largest = std::abs(a[i] - b[i]);  // also catches NaN
  return largest;
}

TEST_CASE("generation: probabilities equal the teacher-forced ones over several windows") {
  const std::vector<int32_t> ids = golden_model(DType::f32).vocabulary.encode(golden_text(150));
  for (const DType dtype : {DType::f64, DType::f32})
    for (const int64_t heads : {1, 4}) {
      const LoadedModel loaded = golden_model(dtype, heads);
      for (const int64_t window : {1, 7, 32, 1000})
        for (const int64_t batch : {1, 3}) {
          CAPTURE(static_cast<int>(dtype));
          CAPTURE(heads);
          CAPTURE(window);
          CAPTURE(batch);
          const Tensor columns = tensor_of({150 / batch, batch}, ids);
          CHECK(largest_difference(one_at_a_time(*loaded.model, columns, window),
                                   teacher_forced(*loaded.model, columns, window)) <
                (dtype == DType::f64 ? 1e-10 : 1e-4));
        }
    }
}

TEST_CASE("generation: the window matters, so the test above can tell windows apart") {
  const LoadedModel loaded = golden_model(DType::f64);
  const Tensor ids = tensor_of({150, 1}, loaded.vocabulary.encode(golden_text(150)));
  CHECK(largest_difference(one_at_a_time(*loaded.model, ids, 31), teacher_forced(*loaded.model, ids, 32)) >
        1e-4);
}

TEST_CASE("generation: models of other kinds") {
  const std::vector<int32_t> ids = golden_model(DType::f32).vocabulary.encode(golden_text(120));
  for (
      const char* config :
      {R"({"model":"srupp","vocabulary":99,"d":24,"d_projected":8,"layers":3,"attention_every":2,"dtype":"f64"})",
       R"({"model":"srupp","vocabulary":99,"d":24,"d_projected":8,"layers":2,"attention_every":0,"dtype":"f64"})",
       R"({"model":"sru","vocabulary":99,"d":24,"layers":2,"dtype":"f64"})"}) {
    CAPTURE(config);
    const std::unique_ptr<LanguageModel> model = make_model(config, 9);
    for (const NamedTensor& parameter : model->parameters())
      if (parameter.name.ends_with("alpha")) fill(parameter.value, 1);  // it starts at 0, without attention
    const Tensor columns = tensor_of({60, 2}, ids);
    CHECK(largest_difference(one_at_a_time(*model, columns, 16), teacher_forced(*model, columns, 16)) <
          1e-10);
  }
}

TEST_CASE("generation: same seed, same text; the callback sees each token") {
  const LoadedModel loaded = golden_model(DType::f32);
  const auto text = [&loaded](const SamplingOptions& options, const OnText& on_text = {}) {
    return generate_text(*loaded.model, loaded.vocabulary, "Word, ", 120, options, {.memory = 32}, on_text);
  };
  std::string streamed;
  const std::string first = text({.seed = 7}, [&streamed](std::string_view piece) { streamed += piece; });
  CHECK(first.size() == 120);
  CHECK(streamed == first);
  CHECK(text({.seed = 7}) == first);
  CHECK(text({.seed = 8}) != first);
  CHECK(text({.temperature = 0, .seed = 1}) == text({.temperature = 0, .seed = 2}));
  CHECK(text({.top_k = 1}) == text({.temperature = 0}));
  CHECK(text({.top_p = 1e-9}) == text({.temperature = 0}));
}

TEST_CASE("generation: a text can be cut anywhere into prompt and continuation") {
  const LoadedModel loaded = golden_model(DType::f64);
  const SamplingOptions greedy{.temperature = 0};
  const std::string prompt = golden_text(50);
  const auto continued = [&](const std::string& from, int64_t bytes) {
    return generate_text(*loaded.model, loaded.vocabulary, from, bytes, greedy, {.memory = 16});
  };
  const std::string all = continued(prompt, 60);
  const std::string begun = continued(prompt, 25);
  CHECK(begun == all.substr(0, 25));
  CHECK(begun + continued(prompt + begun, 35) == all);
  CHECK(continued(prompt, 0).empty());
  CHECK(continued("", 40) == continued("\n", 40));
}

// A model whose logits are its output biases, whatever it has read.
LoadedModel biased_model(const std::string& hex, const std::vector<double>& probabilities) {
  LoadedModel loaded;
  loaded.vocabulary = Vocabulary::from_hex(hex);
  loaded.model =
      make_model(R"({"model":"srupp","vocabulary":4,"d":4,"d_projected":2,"layers":1,"dtype":"f64"})", 1);
  for (const NamedTensor& parameter : loaded.model->parameters()) {
    if (parameter.name == "output.weight") fill(parameter.value, 0);
    if (parameter.name == "output.bias")
      for (size_t i = 0; i < probabilities.size(); ++i)
        parameter.value.data<double>()[i] = std::log(probabilities[i]);
  }
  return loaded;
}

TEST_CASE("generation: bytes come with the probabilities of the distribution") {
  const std::vector<double> probabilities = {0.4, 0.02, 0.08, 0.5};
  const LoadedModel loaded = biased_model("61626364", probabilities);
  constexpr int64_t kBytes = 8000;
  const std::string text =
      generate_text(*loaded.model, loaded.vocabulary, "a", kBytes, {.seed = 3}, {.memory = 1});
  for (size_t id = 0; id < 4; ++id) {
    const double p = probabilities[id];
    const auto count = static_cast<double>(std::count(text.begin(), text.end(), "abcd"[id]));
    CAPTURE(id);
    CHECK(std::abs(count - kBytes * p) < 4 * std::sqrt(kBytes * p * (1 - p)));
  }
  // The draws are independent: pairs are as frequent as the product of their probabilities.
  int64_t pairs = 0;
  for (size_t i = 1; i < text.size(); ++i) pairs += text[i - 1] == 'd' && text[i] == 'a';
  CHECK(std::abs(static_cast<double>(pairs) - 0.2 * kBytes) < 4 * std::sqrt(kBytes * 0.2 * 0.8));
  const std::string cut =
      generate_text(*loaded.model, loaded.vocabulary, "a", 500, {.top_k = 2}, {.memory = 1});
  CHECK(cut.find_first_of("bc") == std::string::npos);
  CHECK(std::count(cut.begin(), cut.end(), 'a') > 150);
}

TEST_CASE("generation: without a newline in the vocabulary, the byte of id 0 begins the text") {
  const LoadedModel loaded = biased_model("78797a77", {0.25, 0.25, 0.25, 0.25});
  for (const NamedTensor& parameter : loaded.model->parameters())
    if (parameter.name == "output.weight")
      for (int64_t i = 0; i < parameter.value.numel(); ++i)
        parameter.value.data<double>()[i] = std::cos(static_cast<double>(3 * i));
  const auto text = [&](const std::string& prompt) {
    std::string all;
    for (uint64_t seed = 1; seed <= 4; ++seed)
      all += generate_text(*loaded.model, loaded.vocabulary, prompt, 30, {.seed = seed}, {.memory = 7});
    return all;
  };
  CHECK(text("") == text("x"));
  CHECK(text("") != text("y"));
}

TEST_CASE("generation: errors") {
  const LoadedModel loaded = golden_model(DType::f32);
  const auto error = [&loaded](const std::string& prompt, int64_t bytes, const SamplingOptions& options,
                               int64_t memory) {
    return error_of(
        [&] { generate_text(*loaded.model, loaded.vocabulary, prompt, bytes, options, {.memory = memory}); });
  };
  CHECK(contains(error("ab\x01", 1, {}, 8), "prompt: vocabulary: byte 0x01 at offset 2"));
  CHECK(contains(error("ab", -1, {}, 8), "-1 tokens cannot be drawn"));
  CHECK(contains(error("ab", 1, {.top_p = 2}, 9), "top_p is 2"));
  CHECK(contains(error("ab", 1, {}, -1), "a memory of 0 or more tokens, got -1"));
  CHECK(contains(
      error_of([&] { generate_text(*loaded.model, Vocabulary::from_hex("61"), "a", 1, {}, {.memory = 8}); }),
      "the vocabulary has 1 symbols, the model predicts 99"));
}

}  // namespace
}  // namespace tandem::testing
