// The batcher of serve with a tiny model: the texts that sequences get beside others, scores, limits, and ends.
#include "tandem/tools/run/serve/batcher.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tandem/core/array.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/sampling.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

constexpr AttentionContext kContext = {.memory = 6, .same_length = true, .segment = 6};

const Vocabulary& letters() {
  static const Vocabulary vocabulary =
      Vocabulary::from_hex("0a6162636465666768696a");  // a newline, and a to j
  return vocabulary;
}

std::unique_ptr<LanguageModel> make_small(const std::string& name = "srupp") {
  const std::string sizes =
      name == "srupp" ? R"("d": 32, "d_projected": 8, "layers": 2)" : R"("d": 16, "layers": 2)";
  auto model = make_model(R"({"model": ")" + name + R"(", "vocabulary": 11, )" + sizes + "}", 1);
  Random random(7);
  for (const NamedTensor& parameter : model->parameters())
    add_in_place(parameter.value.detach(), normal(parameter.value.shape(), random, 0, 0.3));
  return model;
}

// A sequence that keeps what it gets.
struct Kept : Sequence {
  explicit Kept(const std::string& text, int64_t tokens = 10, uint64_t seed = 1) {
    prompt = prompt_ids(letters(), text);
    max_tokens = tokens;
    sampling.seed = seed;
  }

  bool cancelled() const override { return gone; }
  void on_prompt(const TokenScore& token) override { scores.push_back(token); }
  bool on_token(const TokenScore& token) override {
    tokens.push_back(token);
    return static_cast<int64_t>(tokens.size()) != wants;
  }
  void on_end(const std::string& why) override {
    ++ends;
    error = why;
  }

  std::string text() const {
    std::vector<int32_t> ids;
    for (const TokenScore& token : tokens) ids.push_back(token.id);
    return letters().decode(ids);
  }

  bool gone = false;
  int64_t wants = -1;  // tokens after which on_token() ends the sequence
  std::vector<TokenScore> scores, tokens;
  int ends = 0;
  std::string error;
};

std::shared_ptr<Kept> sequence(const std::string& text, int64_t tokens = 10, uint64_t seed = 1) {
  return std::make_shared<Kept>(text, tokens, seed);
}

void run_all(Batcher& batcher) {
  int turns = 0;
  while (batcher.turn()) REQUIRE(++turns < 10'000);
}

TEST_CASE("serve, batcher: a sequence draws the text that generate_text() draws") {
  const auto model = make_small();
  Batcher batcher(*model, kContext, {});
  SamplingOptions shaped = {.temperature = 0.7, .top_k = 0, .top_p = 0.9, .seed = 5};
  for (const std::string prompt : {"", "a", "abcdefghij\nabcdefghij"}) {
    const auto plain = sequence(prompt, 30, 3), cold = sequence(prompt, 20);
    cold->sampling = shaped;
    CHECK(batcher.add({plain}) == Batcher::Admission::accepted);
    run_all(batcher);
    batcher.add({cold});
    run_all(batcher);
    CHECK(plain->text() == generate_text(*model, letters(), prompt, 30, {.seed = 3}, kContext));
    CHECK(cold->text() == generate_text(*model, letters(), prompt, 20, shaped, kContext));
    CHECK(plain->ends == 1);
    CHECK(plain->error.empty());
  }
}

TEST_CASE("serve, batcher: the text does not depend on what else runs, in batches of up to 8") {
  for (const char* name : {"srupp", "sru", "lstm"}) {
    const auto model = make_small(name);
    const auto make = [](int64_t i) {
      return sequence(std::string("abcdefghijabcdefghij").substr(0, static_cast<size_t>(3 * i)), 5 + 7 * i,
                      static_cast<uint64_t>(i));
    };
    Batcher batcher(*model, kContext, {.max_batch = 5, .queue = 20, .prompt_tokens = 4});
    std::vector<std::shared_ptr<Kept>> together;
    for (int64_t i = 0; i < 7; ++i) {
      together.push_back(make(i));
      batcher.add({together.back()});
      for (int64_t turns = 0; turns < i; ++turns) batcher.turn();
    }
    run_all(batcher);
    for (int64_t i = 0; i < 7; ++i) {
      const auto alone = make(i);
      Batcher own(*model, kContext, {});
      own.add({alone});
      run_all(own);
      CAPTURE(name);
      CAPTURE(i);
      CHECK(alone->tokens.size() == static_cast<size_t>(5 + 7 * i));
      CHECK(together[static_cast<size_t>(i)]->text() == alone->text());
    }
  }
}

TEST_CASE("serve, batcher: scores of the prompt and of what is drawn are the model's losses") {
  const auto model = make_small();
  const std::string prompt = "abcabcdefghhij\nab";
  const auto scored = sequence(prompt, 12);
  scored->score_prompt = true;
  scored->logprobs = 3;
  scored->sampling.temperature = 0.5;  // the scores are those of the model all the same
  Batcher batcher(*model, kContext, {.max_batch = 2, .queue = 2, .prompt_tokens = 3});
  batcher.add({scored, sequence("jjjj", 40)});
  run_all(batcher);
  REQUIRE(scored->scores.size() == prompt.size());
  REQUIRE(scored->tokens.size() == 12);
  CHECK_FALSE(scored->scores[0].logprob);
  CHECK(scored->scores[0].top.empty());

  std::vector<int32_t> ids = scored->prompt;
  for (const TokenScore& token : scored->tokens) ids.push_back(token.id);
  std::vector<TokenScore> scores(scored->scores.begin() + 1, scored->scores.end());
  scores.insert(scores.end(), scored->tokens.begin(), scored->tokens.end());
  const auto steps = static_cast<int64_t>(ids.size()) - 1;
  State state;
  ForwardOptions pass;
  pass.context = kContext;
  for (int64_t t = 0; t < steps; ++t) {  // token by token, as a segment each
    const Tensor token = tensor_of<int32_t>({1, 1}, {ids[static_cast<size_t>(t)]});
    const std::vector<double> expected =
        log_probabilities(model->logits(token, state, pass).to(DType::f64).to_vector<double>());
    const TokenScore& score = scores[static_cast<size_t>(t)];
    CHECK(score.id == ids[static_cast<size_t>(t) + 1]);
    REQUIRE(score.logprob);
    CHECK(*score.logprob == doctest::Approx(expected[static_cast<size_t>(score.id)]).epsilon(1e-4));
    REQUIRE(score.top.size() == 3);
    int64_t above = 0;
    for (const double x : expected) above += x > expected[static_cast<size_t>(score.top[2].first)] + 1e-5;
    CHECK(above == 2);
    CHECK(score.top[0].second >= score.top[1].second);
    CHECK(score.top[1].second >= score.top[2].second);
  }
}

TEST_CASE("serve, batcher: scores of a prompt alone draw nothing") {
  const auto model = make_small();
  const auto scored = sequence("abc", 0);
  scored->score_prompt = true;
  Batcher batcher(*model, kContext, {});
  batcher.add({scored});
  run_all(batcher);
  CHECK(scored->scores.size() == 3);
  CHECK(scored->tokens.empty());
  CHECK(scored->ends == 1);
}

TEST_CASE("serve, batcher: a long prompt does not keep the others waiting") {
  const auto model = make_small();
  Batcher batcher(*model, kContext, {.max_batch = 3, .queue = 8, .prompt_tokens = 256});
  const auto running = sequence("a", 100), short_one = sequence("b", 100);
  batcher.add({running});
  batcher.turn();
  std::string long_prompt;
  while (long_prompt.size() < 3000) long_prompt += "abcdefghij";
  const auto long_one = sequence(long_prompt, 1);
  batcher.add({long_one, short_one});
  for (size_t turn = 0; long_one->tokens.empty(); ++turn) {
    REQUIRE(turn < 20);
    const size_t before = running->tokens.size();
    batcher.turn();
    CHECK(running->tokens.size() == before + 1);  // a token for each piece of the prompt
  }
  CHECK(running->tokens.size() > 11);
  CHECK(short_one->tokens.size() > 9);  // it went ahead of the long prompt
}

TEST_CASE(
    "serve, batcher: a sequence leaves when it is cancelled or wants no more, and others take its place") {
  const auto model = make_small();
  Batcher batcher(*model, kContext, {.max_batch = 2, .queue = 4, .prompt_tokens = 256});
  const auto gone = sequence("a", 1000), done = sequence("b", 1000), next = sequence("c", 5),
             last = sequence("d", 5);
  done->wants = 4;
  batcher.add({gone, done, next, last});
  CHECK(batcher.load().waiting == 4);
  batcher.turn();
  CHECK(batcher.load().running == 2);
  CHECK(batcher.load().waiting == 2);
  for (int turn = 0; turn < 4; ++turn) batcher.turn();
  CHECK(done->tokens.size() == 4);
  CHECK(done->ends == 1);
  CHECK(next->tokens.size() > 0);
  CHECK(last->tokens.empty());
  gone->gone = true;
  const size_t before = gone->tokens.size();
  batcher.turn();
  CHECK(gone->tokens.size() == before);
  CHECK(gone->ends == 1);
  CHECK(last->tokens.size() > 0);
  run_all(batcher);
  CHECK(next->text().size() == 5);
  CHECK(last->text().size() == 5);
  CHECK(batcher.load().running == 0);
  const auto waiting = sequence("e", 1000);  // one that waits can be cancelled, too
  batcher.add({sequence("a", 20), sequence("a", 20), waiting});
  batcher.turn();
  waiting->gone = true;
  batcher.turn();
  CHECK(waiting->ends == 1);
}

TEST_CASE("serve, batcher: the queue has a length, a closed batcher takes nothing, and cut() ends all") {
  const auto model = make_small();
  Batcher batcher(*model, kContext, {.max_batch = 1, .queue = 3, .prompt_tokens = 256});
  const auto one = sequence("a", 1000), two = sequence("b", 1000);
  CHECK(batcher.add({one, two}) == Batcher::Admission::accepted);
  CHECK(batcher.add({sequence("c"), sequence("c")}) == Batcher::Admission::full);
  CHECK(batcher.load().waiting == 2);  // of what does not fit nothing is taken in
  batcher.turn();
  CHECK(batcher.add({sequence("c"), sequence("c")}) == Batcher::Admission::accepted);
  batcher.close();
  CHECK(batcher.add({sequence("d")}) == Batcher::Admission::closed);
  batcher.turn();
  CHECK(batcher.cut("stopping") == 4);
  for (const auto& sequence : {one, two}) {
    CHECK(sequence->ends == 1);
    CHECK(sequence->error == "stopping");
  }
  CHECK(one->tokens.size() > 0);
  CHECK_FALSE(batcher.turn());
  CHECK(contains(error_of([&] { Batcher(*model, kContext, {.max_batch = 0}); }), "a batch of 0"));
}

TEST_CASE("serve, batcher: a model that has diverged ends sequences by an error, and the batcher lives on") {
  const auto model = make_small("sru");
  const auto fine = sequence("ab", 3);
  Batcher batcher(*model, kContext, {});
  const Tensor parameter = model->parameters()[0].value.detach();
  const Tensor before = parameter.clone();
  fill(parameter, std::numeric_limits<double>::quiet_NaN());
  const auto failing = sequence("ab", 3);
  batcher.add({failing});
  run_all(batcher);
  CHECK(failing->ends == 1);
  CHECK(contains(failing->error, "the model has diverged"));
  copy(parameter, before);
  batcher.add({fine});
  run_all(batcher);
  CHECK(fine->error.empty());
  CHECK(fine->tokens.size() == 3);
}

}  // namespace
}  // namespace tandem::testing
