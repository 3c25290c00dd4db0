// Columns whose recurrent state begins anew: which, when, and that they compute what a new text computes.
#include "tandem/models/training/state_reset.h"

#include <doctest/doctest.h>

#include <map>
#include <set>

#include "tandem/core/array.h"
#include "tandem/models/registry.h"
#include "tests/support/files.h"
#include "tests/support/small_models.h"
#include "tests/support/small_run.h"

namespace tandem::testing {
namespace {

constexpr int64_t kSteps = 5, kColumns = 3, kColumn = 1;  // of a segment; the column that is reset
constexpr int64_t kLetters = 11;

Tensor random_ids(Random& random) {
  Tensor ids({kSteps, kColumns}, DType::i32);
  for (int64_t i = 0; i < ids.numel(); ++i)
    ids.data<int32_t>()[i] = static_cast<int32_t>(random.below(kLetters));
  return ids;
}

// Returns the values of one column of a part, which is (B, D) or (rows, B, D).
std::vector<double> column_of(const Tensor& part, int64_t column) {
  const std::vector<double> all = part.to(DType::f64).to_vector<double>();
  const int64_t width = part.size(-1);
  std::vector<double> values;
  for (int64_t row = column; row < part.numel() / width; row += part.size(-2))
    values.insert(values.end(), all.begin() + row * width, all.begin() + (row + 1) * width);
  return values;
}

}  // namespace

TEST_CASE("state reset: each column begins anew once in so many steps") {
  for (const int64_t every : {1, 2, 7, 100})
    for (const int64_t batch : {1, 3, 8})
      for (int64_t start : {1, 50, 1001}) {
        std::map<int64_t, int64_t> seen;
        for (int64_t step = start; step < start + every; ++step)
          for (const int64_t column : columns_to_reset(step, every, {0, batch}, batch)) ++seen[column];
        CHECK(std::ssize(seen) == batch);
        for (const auto& [column, times] : seen) CHECK(times == 1);
      }
  CHECK(columns_to_reset(0, 1, {0, 4}, 4).empty());
  CHECK(columns_to_reset(8, 0, {0, 4}, 4).empty());
  CHECK(columns_to_reset(8, 4, {0, 4}, 4) == std::vector<int64_t>{0});
  CHECK(columns_to_reset(7, 4, {0, 4}, 4) == std::vector<int64_t>{3});
  // A shard counts from its own first column.
  CHECK(columns_to_reset(7, 4, {2, 4}, 4) == std::vector<int64_t>{1});
  CHECK(columns_to_reset(7, 4, {0, 2}, 4).empty());
}

TEST_CASE(
    "state reset: in every model the column then computes what the start of a text does, and others go on") {
  std::set<std::string> recurrent, attending;
  for (const std::string& config : small_models()) {
    CAPTURE(config);
    std::string text = config;
    text.insert(text.rfind('}'), R"(,"vocabulary":11)");
    const std::unique_ptr<LanguageModel> model = make_model(text, 7);
    if (!model->carries_state()) continue;
    Random random(5);
    const ForwardOptions options{.context = {.memory = kSteps}};
    State state, fresh;
    for (int i = 0; i < 3; ++i) model->token_losses(random_ids(random), random_ids(random), state, options);
    const State before = state;
    std::vector<std::vector<std::vector<double>>> values;  // by part and column
    for (const NamedTensor& part : before.parts)
      for (values.emplace_back(); std::ssize(values.back()) < kColumns;)
        values.back().push_back(column_of(part.value, std::ssize(values.back())));

    reset_columns(state, {kColumn});
    bool attends = false;
    REQUIRE(state.parts.size() == before.parts.size());
    for (size_t i = 0; i < values.size(); ++i) {
      CAPTURE(state.parts[i].name);
      const bool memory = state.parts[i].name.starts_with("memory");
      attends = attends || memory;
      for (int64_t c = 0; c < kColumns; ++c) {
        std::vector<double> expected = values[i][static_cast<size_t>(c)];
        CHECK(column_of(before.parts[i].value, c) == expected);  // the state before is another's
        if (c == kColumn && !memory) std::fill(expected.begin(), expected.end(), 0.0);
        CHECK(column_of(state.parts[i].value, c) == expected);
      }
    }
    (attends ? attending : recurrent).insert(config);
    // RG-LRU takes the first input of a text undamped, and so tells a state of 0 from none.
    if (attends || config.find("griffin") != config.npos || config.find("rg-lru") != config.npos) continue;
    State old = before;
    const Tensor tokens = random_ids(random), targets = random_ids(random);
    const Tensor gone_on = model->token_losses(tokens, targets, old, options);
    const Tensor now = model->token_losses(tokens, targets, state, options);
    const Tensor anew = model->token_losses(tokens, targets, fresh, options);
    const auto losses_of = [](const Tensor& losses, int64_t column) {
      return column_of(losses.view_as({kSteps, kColumns, 1}), column);
    };
    for (int64_t c = 0; c < kColumns; ++c) {
      const std::vector<double> expected = losses_of(c == kColumn ? anew : gone_on, c),
                                seen = losses_of(now, c);
      for (size_t t = 0; t < seen.size(); ++t) CHECK(seen[t] == doctest::Approx(expected[t]).epsilon(1e-6));
    }
    CHECK(losses_of(now, kColumn) != losses_of(gone_on, kColumn));
  }
  CHECK(recurrent.size() > 10);
  CHECK(attending.size() > 5);
}

TEST_CASE("state reset: a run with it differs from the first reset on, and resumes bit for bit") {
  RunConfig config = small_run();
  Trainer without = make_trainer(config);
  const std::vector<double> never = losses(without, 12);
  config.recipe.reset_every = 7;  // columns 0, 1 and 2 before the steps that follow 7, 2 and 4 others
  Trainer whole = make_trainer(config);
  const std::vector<double> expected = losses(whole, 12);
  for (const size_t before : {0, 1}) CHECK(expected[before] == never[before]);
  for (const size_t then : {2, 4, 11}) CHECK(expected[then] != never[then]);
  const TempDir folder;
  const std::string path = folder / "resume";
  for (const int64_t stop : {1, 2, 5, 7, 9}) {
    CAPTURE(stop);
    Trainer before = make_trainer(config);
    std::vector<double> seen = losses(before, stop);
    save_checkpoint(path, before.checkpoint());
    Trainer after = make_trainer(RunConfig::from_text(load_checkpoint(path).run_config));
    CHECK(after.config().recipe.reset_every == 7);
    after.restore(load_checkpoint(path));
    const std::vector<double> rest = losses(after, 12 - stop);
    seen.insert(seen.end(), rest.begin(), rest.end());
    CHECK(seen == expected);
  }
}

}  // namespace tandem::testing
