// Objects of answers.
#include "tandem/tools/run/serve/completion_json.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;

// Returns a text, or null for an empty one.
ordered_json or_null(const std::string& text) {
  return text.empty() ? ordered_json() : ordered_json(text);
}

// Returns the lists of a choice's tokens. The most probable tokens of a place are an object in their order; the token
// itself is among them, if need be as one more.
ordered_json logprobs_json(const std::vector<TokenText>& tokens) {
  ordered_json texts = ordered_json::array(), logprobs = texts, top = texts, offsets = texts;
  for (const TokenText& token : tokens) {
    texts.push_back(token.text);
    offsets.push_back(token.offset);
    if (!token.logprob) {
      logprobs.push_back(nullptr);
      top.push_back(nullptr);
      continue;
    }
    logprobs.push_back(*token.logprob);
    ordered_json best = ordered_json::object();
    for (const auto& [text, logprob] : token.top) best[text] = logprob;
    best[token.text] = *token.logprob;
    top.push_back(std::move(best));
  }
  return {{"tokens", texts}, {"token_logprobs", logprobs}, {"top_logprobs", top}, {"text_offset", offsets}};
}

const char* error_type(int status) {
  if (status == 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

}  // namespace

ordered_json completion_json(const CompletionHead& head, ordered_json choices) {
  return {{"id", head.id},
          {"object", "text_completion"},
          {"created", head.created},
          {"model", head.model},
          {"choices", std::move(choices)}};
}

ordered_json choice_json(size_t index, const CompletionText::Part& part, bool logprobs, const char* reason) {
  return {{"text", part.text},
          {"index", index},
          {"logprobs", logprobs ? logprobs_json(part.tokens) : ordered_json()},
          {"finish_reason", reason ? ordered_json(reason) : ordered_json()}};
}

const char* finish_reason(bool stopped) {
  return stopped ? "stop" : "length";
}

ordered_json usage_json(int64_t prompt_tokens, int64_t completion_tokens) {
  return {{"prompt_tokens", prompt_tokens},
          {"completion_tokens", completion_tokens},
          {"total_tokens", prompt_tokens + completion_tokens}};
}

ordered_json error_json(int status, const std::string& message, const std::string& param,
                        const std::string& code) {
  ordered_json object;
  object["error"] = {
      {"message", message}, {"type", error_type(status)}, {"param", or_null(param)}, {"code", or_null(code)}};
  return object;
}

std::string json_text(const ordered_json& object) {
  return object.dump(-1, ' ', /*ensure_ascii=*/false, ordered_json::error_handler_t::replace);
}

std::string event_of(const ordered_json& object) {
  return "data: " + json_text(object) + "\n\n";
}

}  // namespace tandem
