// The evaluation loop: the authors' numbers, and sums that do not depend on how the text is cut.
#include "tandem/models/training/evaluation.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "tandem/core/array.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/model_file.h"
#include "tandem/models/training/score.h"
#include "tests/support/data_files.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/threads.h"

namespace tandem::testing {
namespace {

const std::string& golden_text() {
  static const std::string text = read_text(golden_path("srupp/text.bin"));
  return text;
}

LoadedModel golden_model(DType dtype) {
  return load_model_file(golden_path("srupp/weights.safetensors"), 1, dtype);
}

struct Traced {
  Evaluation total;
  std::vector<double> segment_losses;  // mean loss of each segment
};

Traced traced(const LoadedModel& loaded, std::span<const uint8_t> bytes, int64_t window) {
  Traced result;
  Evaluation before;
  result.total = evaluate(*loaded.model, Tokens(bytes, loaded.vocabulary), {.window = window},
                          [&](const Evaluation& so_far, int64_t symbols) {
                            CHECK(symbols == static_cast<int64_t>(bytes.size()) - 1);
                            const auto scored = static_cast<double>(so_far.symbols - before.symbols);
                            result.segment_losses.push_back((so_far.total_nats - before.total_nats) / scored);
                            before = so_far;
                          });
  return result;
}

TEST_CASE("evaluation: the authors' bits per character") {
  const nlohmann::json expected = golden_json("srupp/expected.json")["eval"];
  REQUIRE(expected.size() == 2);
  for (const DType dtype : {DType::f64, DType::f32}) {
    const LoadedModel loaded = golden_model(dtype);
    const double tolerance = dtype == DType::f64 ? 1e-9 : 1e-5;
    for (const nlohmann::json& run : expected) {
      const auto window = run["window"].get<int64_t>();
      CAPTURE(window);
      CAPTURE(static_cast<int>(dtype));
      const Traced result = traced(loaded, as_bytes(golden_text()), window);
      CHECK(result.total.symbols == run["predicted_bytes"]);
      CHECK(result.total.dropped == 0);
      CHECK(std::abs(score(TokenUnit::byte, result.total.mean_nats()) - run["bpc"].get<double>()) <
            tolerance);
      CHECK(std::abs(result.total.mean_nats() - run["mean_nll_nats"].get<double>()) < tolerance);
      const auto first = run["first_segment_losses"].get<std::vector<double>>();
      REQUIRE(result.segment_losses.size() > first.size());
      for (size_t i = 0; i < first.size(); ++i)
        CHECK(std::abs(result.segment_losses[i] - first[i]) < tolerance);
      CHECK(std::abs(result.segment_losses.back() - run["last_segment_loss"].get<double>()) < tolerance);
    }
  }
}

TEST_CASE("evaluation: a model that knows nothing scores log2 of the vocabulary") {
  const LoadedModel loaded = golden_model(DType::f64);
  for (const NamedTensor& parameter : loaded.model->parameters())
    if (parameter.name.starts_with("output.")) fill(parameter.value, 0);
  const Evaluation result =
      evaluate(*loaded.model, Tokens(as_bytes(golden_text()).first(100), loaded.vocabulary), {.window = 40});
  CHECK(score(TokenUnit::byte, result.mean_nats()) == doctest::Approx(std::log2(99.0)).epsilon(1e-12));
  CHECK(score(TokenUnit::word, result.mean_nats()) == doctest::Approx(99).epsilon(1e-12));
  CHECK(result.mean_nats() == doctest::Approx(std::log(99.0)).epsilon(1e-12));
  CHECK(result.symbols == 99);
}

TEST_CASE("evaluation: same bits with one thread and with two") {
  const LoadedModel loaded = golden_model(DType::f32);
  const auto score = [&loaded](int threads) {
    const Threads use(threads);
    return evaluate(*loaded.model, Tokens(as_bytes(golden_text()).first(2000), loaded.vocabulary),
                    {.window = 128, .batch_size = 3})
        .total_nats;
  };
  CHECK(score(1) == score(2));
}

TEST_CASE("evaluation: columns are texts of their own, and what does not fill them is counted as dropped") {
  const LoadedModel loaded = golden_model(DType::f64);
  const std::span<const uint8_t> bytes = as_bytes(golden_text()).first(303);
  for (const int64_t batch_size : {1, 2, 5}) {
    CAPTURE(batch_size);
    const int64_t length = 302 / batch_size;
    double expected = 0;
    for (int64_t b = 0; b < batch_size; ++b)
      expected +=
          evaluate(*loaded.model,
                   Tokens(bytes.subspan(static_cast<size_t>(b * length), static_cast<size_t>(length + 1)),
                          loaded.vocabulary),
                   {.window = 32})
              .total_nats;
    const Evaluation result =
        evaluate(*loaded.model, Tokens(bytes, loaded.vocabulary), {.window = 32, .batch_size = batch_size});
    CHECK(result.total_nats == doctest::Approx(expected).epsilon(1e-12));
    CHECK(result.symbols == batch_size * length);
    CHECK(result.dropped == 302 % batch_size);
    CHECK(result.seconds > 0);
  }
}

TEST_CASE("evaluation: a window longer than the text is one segment without memory") {
  const LoadedModel loaded = golden_model(DType::f64);
  const std::span<const uint8_t> bytes = as_bytes(golden_text()).first(30);
  const Traced result = traced(loaded, bytes, 1000);
  CHECK(result.segment_losses.size() == 1);
  CHECK(result.total.total_nats == traced(loaded, bytes, 29).total.total_nats);
  CHECK(evaluate(*loaded.model, Tokens(bytes.first(2), loaded.vocabulary), {.window = 8}).symbols == 1);
}

TEST_CASE("evaluation: an exception from the progress callback ends it") {
  const LoadedModel loaded = golden_model(DType::f32);
  int calls = 0;
  const auto stop_at_third = [&calls](const Evaluation&, int64_t) {
    if (++calls == 3) throw Error("enough");
  };
  CHECK(error_of([&] {
          evaluate(*loaded.model, Tokens(as_bytes(golden_text()), loaded.vocabulary), {.window = 32},
                   stop_at_third);
        }) == "enough");
  CHECK(calls == 3);
}

TEST_CASE("evaluation: errors") {
  const LoadedModel loaded = golden_model(DType::f32);
  const auto error = [&loaded](const std::string& text, int64_t window, int64_t batch_size) {
    return error_of([&] {
      evaluate(*loaded.model, Tokens(as_bytes(text), loaded.vocabulary),
               {.window = window, .batch_size = batch_size});
    });
  };
  CHECK(contains(error("text", 0, 1), "window is 0"));
  CHECK(contains(error("text", 4, 0), "batch size is 0"));
  CHECK(contains(error("t", 4, 1), "1 tokens cannot be cut"));
  CHECK(contains(error("a text\x01", 4, 1), "byte 0x01 at offset 6"));
  CHECK(contains(error_of([&] {
                   evaluate(*loaded.model,
                            Tokens(as_bytes(std::string("abab")), Vocabulary::from_hex("6162")),
                            {.window = 4});
                 }),
                 "the vocabulary has 2 symbols, the model predicts 99"));
}

}  // namespace
}  // namespace tandem::testing
