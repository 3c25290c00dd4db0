// Completion: a request to /v1/completions under way, between the thread of its connection and that of the batcher.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tandem/data/vocabulary.h"
#include "tandem/tools/run/serve/batcher.h"
#include "tandem/tools/run/serve/completion_request.h"
#include "tandem/tools/run/serve/completion_text.h"

namespace tandem {

class Completion : public std::enable_shared_from_this<Completion> {
 public:
  // Makes the choices of a request, n for each prompt. `model` is the name that answers give, `id` that of the completion.
  // Error: RequestError, if the vocabulary lacks a byte of a prompt. The vocabulary must outlive the completion.
  static std::shared_ptr<Completion> make(const CompletionRequest& request, const Vocabulary& vocabulary,
                                          const std::string& model, const std::string& id);

  // Returns the sequences to run, which keep the completion alive. Called once.
  std::vector<std::shared_ptr<Sequence>> sequences();

  // --- for the connection

  // Declares that nobody waits any more: the sequences end before their next token.
  void cancel() { cancelled_ = true; }
  // Waits until there is something to write, or until the time is over.
  void wait(std::chrono::milliseconds time);
  bool done() const;
  // Returns why a sequence could not go on; empty if none failed.
  std::string error() const;
  // Returns the server-sent events of what is new, and the last ones at the end; empty if nothing is new.
  std::string events();
  // Returns the answer as JSON. The completion must be done.
  std::string response();

  int64_t prompt_tokens() const { return prompt_tokens_; }
  int64_t completion_tokens() const { return completion_tokens_; }
  const CompletionRequest& request() const { return request_; }

 private:
  class Choice;
  struct State {
    State(const Vocabulary& vocabulary, const CompletionRequest& request, int32_t before, int64_t offset)
        : text(vocabulary, request.stop, before, offset, request.logprobs.has_value()) {}
    CompletionText text;
    bool ended = false, told = false;  // told: the events have said that it ended
  };

  Completion(const CompletionRequest& request, const std::string& model, const std::string& id);

  const CompletionRequest request_;
  const std::string model_, id_;
  const int64_t created_;  // seconds since 1970
  int64_t prompt_tokens_ = 0;
  std::vector<std::shared_ptr<Sequence>> sequences_;
  std::atomic<bool> cancelled_ = false;
  std::atomic<int64_t> completion_tokens_ = 0;

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  bool news_ = false, finished_ = false;  // finished: the last events are given out
  size_t ended_ = 0;
  std::string error_;
  std::vector<std::unique_ptr<State>> choices_;
};

}  // namespace tandem
