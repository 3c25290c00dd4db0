// The choices of a completion, and its answers.
#include "tandem/tools/run/serve/completion.h"

#include <ctime>
#include <nlohmann/json.hpp>
#include <random>

#include "tandem/core/utf8.h"
#include "tandem/tools/run/serve/completion_json.h"

namespace tandem {
namespace {

uint64_t random_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

// Returns the length of a text in characters.
int64_t characters(const std::string& text) {
  return static_cast<int64_t>(character_starts(text).size());
}

}  // namespace

// One sequence of a completion: what the batcher gives is added to the choice.
class Completion::Choice : public Sequence {
 public:
  Choice(Completion& completion, size_t index) : completion_(completion), index_(index) {}
  // The completion holds its sequences until sequences() gives them out, and they hold it from then on.
  void hold(std::shared_ptr<Completion> completion) { holder_ = std::move(completion); }

  bool cancelled() const override { return completion_.cancelled_; }

  void on_prompt(const TokenScore& token) override {
    const std::scoped_lock lock(completion_.mutex_);
    completion_.choices_[index_]->text.add_prompt(token);
    tell();
  }

  bool on_token(const TokenScore& token) override {
    ++completion_.completion_tokens_;
    const std::scoped_lock lock(completion_.mutex_);
    const bool more = completion_.choices_[index_]->text.add(token);
    tell();
    return more;
  }

  void on_end(const std::string& error) override {
    const std::scoped_lock lock(completion_.mutex_);
    completion_.choices_[index_]->ended = true;
    ++completion_.ended_;
    if (completion_.error_.empty()) completion_.error_ = error;
    if (!error.empty())
      completion_.cancelled_ = true;  // the answer has failed, so its other choices end, too
    tell();
  }

 private:
  void tell() {
    completion_.news_ = true;
    // An answer that is no stream is written at its end: its thread need not wake for every token.
    if (completion_.request_.stream || completion_.ended_ == completion_.choices_.size())
      completion_.changed_.notify_one();
  }

  Completion& completion_;
  size_t index_;
  std::shared_ptr<Completion> holder_;
};

Completion::Completion(const CompletionRequest& request, const std::string& model, const std::string& id)
    : request_(request), model_(model), id_(id), created_(std::time(nullptr)) {}

std::shared_ptr<Completion> Completion::make(const CompletionRequest& request, const Vocabulary& vocabulary,
                                             const std::string& model, const std::string& id) {
  const std::shared_ptr<Completion> completion(new Completion(request, model, id));
  const uint64_t seed = request.seed ? *request.seed : random_seed();
  for (const std::string& prompt : request.prompts) {
    std::vector<int32_t> ids;
    try {
      ids = encoded_prompt(vocabulary, prompt);
    } catch (const Error& error) {
      throw RequestError(400, error.what(), "prompt");
    }
    const bool any = !ids.empty();
    completion->prompt_tokens_ += static_cast<int64_t>(ids.size());
    if (!any) ids = prompt_ids(vocabulary, prompt);  // the model reads a line end, which is not shown
    const bool shows_prompt = request.echo && any;
    const int64_t offset = request.echo ? 0 : characters(prompt);
    for (int64_t i = 0; i < request.n; ++i) {
      auto choice = std::make_shared<Choice>(*completion, completion->choices_.size());
      choice->prompt = ids;
      choice->max_tokens = request.max_tokens;
      choice->sampling = request.sampling;
      choice->sampling.seed = seed + completion->choices_.size();
      choice->logprobs = request.logprobs;
      choice->score_prompt = shows_prompt && request.logprobs;
      completion->choices_.push_back(
          std::make_unique<State>(vocabulary, request, shows_prompt || !any ? -1 : ids.back(), offset));
      if (shows_prompt && !choice->score_prompt)
        for (const int32_t id : ids) completion->choices_.back()->text.add_prompt({.id = id});
      completion->sequences_.push_back(std::move(choice));
    }
  }
  return completion;
}

std::vector<std::shared_ptr<Sequence>> Completion::sequences() {
  for (const auto& sequence : sequences_) static_cast<Choice&>(*sequence).hold(shared_from_this());
  return std::move(sequences_);
}

void Completion::wait(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, time, [this] { return (news_ && request_.stream) || ended_ == choices_.size(); });
}

bool Completion::done() const {
  const std::scoped_lock lock(mutex_);
  return ended_ == choices_.size();
}

std::string Completion::error() const {
  const std::scoped_lock lock(mutex_);
  return error_;
}

std::string Completion::events() {
  const std::scoped_lock lock(mutex_);
  news_ = false;
  if (finished_) return "";
  const CompletionHead head = {id_, model_, created_};
  std::string events;
  for (size_t i = 0; i < choices_.size(); ++i) {
    State& choice = *choices_[i];
    if (choice.told) continue;
    const bool ended = choice.ended && error_.empty();
    const CompletionText::Part part = choice.text.take(ended);
    if (part.text.empty() && part.tokens.empty() && !ended) continue;
    choice.told = ended;
    const char* const reason = ended ? finish_reason(choice.text.stopped()) : nullptr;
    nlohmann::ordered_json changed = nlohmann::ordered_json::array();
    changed.push_back(choice_json(i, part, request_.logprobs.has_value(), reason));
    events += event_of(completion_json(head, std::move(changed)));
  }
  if (!error_.empty()) {
    finished_ = true;
    return events + event_of(error_json(500, error_, "", ""));
  }
  if (ended_ < choices_.size()) return events;
  finished_ = true;
  if (request_.include_usage) {
    nlohmann::ordered_json last = completion_json(head, nlohmann::ordered_json::array());
    last["usage"] = usage_json(prompt_tokens_, completion_tokens_);
    events += event_of(last);
  }
  return events + "data: [DONE]\n\n";
}

std::string Completion::response() {
  const std::scoped_lock lock(mutex_);
  nlohmann::ordered_json choices = nlohmann::ordered_json::array();
  for (size_t i = 0; i < choices_.size(); ++i) {
    CompletionText& text = choices_[i]->text;
    const char* const reason = finish_reason(text.stopped());
    choices.push_back(choice_json(i, text.take(true), request_.logprobs.has_value(), reason));
  }
  nlohmann::ordered_json answer = completion_json({id_, model_, created_}, std::move(choices));
  answer["usage"] = usage_json(prompt_tokens_, completion_tokens_);
  return json_text(answer);
}

}  // namespace tandem
