// The objects that answer requests, in the form of OpenAI's API for completions. This header is not installed: it needs
// that of JSON.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "tandem/tools/run/serve/completion_text.h"

namespace tandem {

struct CompletionHead {
  std::string id, model;
  int64_t created;  // seconds since 1970
};

// Returns a completion, or a part of one that is streamed.
nlohmann::ordered_json completion_json(const CompletionHead& head, nlohmann::ordered_json choices);
// Returns a choice; with `logprobs` it has the log-probabilities of its tokens. `reason` is null if it goes on.
nlohmann::ordered_json choice_json(size_t index, const CompletionText::Part& part, bool logprobs,
                                   const char* reason);
// Returns why a choice ended: "stop", by a stop text, or "length".
const char* finish_reason(bool stopped);
nlohmann::ordered_json usage_json(int64_t prompt_tokens, int64_t completion_tokens);

// Returns the error object of a status; `param` and `code` are null in it if they are empty.
nlohmann::ordered_json error_json(int status, const std::string& message, const std::string& param,
                                  const std::string& code);

// Returns an object on one line; U+FFFD stands for bytes that are not UTF-8.
std::string json_text(const nlohmann::ordered_json& object);
// Returns an object as a server-sent event.
std::string event_of(const nlohmann::ordered_json& object);

}  // namespace tandem
