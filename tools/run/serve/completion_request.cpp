// Reading and checking the fields of a request.
#include "tandem/tools/run/serve/completion_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tandem/core/json.h"

namespace tandem {
namespace {

using nlohmann::json;

constexpr int64_t kMostLogprobs = 5;
constexpr size_t kMostStops = 16, kLongestStop = 1024;  // of `stop`: texts, bytes of one

// The fields of a request, by name.
class Fields {
 public:
  explicit Fields(const json& request) : request_(request) {}

  // Returns a field; null if it is absent or null.
  const json* find(const char* name) const {
    const auto found = request_.find(name);
    return found == request_.end() || found->is_null() ? nullptr : &*found;
  }

  // Sets `value` to a field, if there is one. `must` says what it must be.
  template <class T>
  void read(const char* name, T& value, const std::string& must) const {
    const json* const field = find(name);
    if (!field) return;
    const std::optional<T> read = json_as<T>(*field);
    if (!read) refuse(name, must);
    value = *read;
  }

  void read(const char* name, int64_t& value, int64_t low, int64_t high) const {
    const std::string must = fmt::format("a whole number from {} to {}", low, high);
    read(name, value, must);
    if (value < low || value > high) refuse(name, must);
  }

  [[noreturn]] void refuse(const char* name, const std::string& must) const {
    const auto found = request_.find(name);
    const std::string value = found == request_.end() ? "missing" : json_start(*found);
    throw RequestError(400, fmt::format("the field \"{}\" is {}; it must be {}", name, value, must), name);
  }

 private:
  const json& request_;
};

// Reads a text, or a list of 1 to `most` texts.
std::vector<std::string> read_texts(const Fields& fields, const char* name, const std::string& must,
                                    size_t most) {
  const json& field = *fields.find(name);
  if (field.is_string()) return {field.get<std::string>()};
  if (!field.is_array() || field.empty() || field.size() > most) fields.refuse(name, must);
  std::vector<std::string> texts;
  for (const json& text : field) {
    if (!text.is_string()) fields.refuse(name, must);
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

void read_prompts(const Fields& fields, CompletionRequest& request, const RequestLimits& limits) {
  const std::string must = fmt::format("a text, or a list of 1 to {} texts", limits.choices);
  if (!fields.find("prompt")) fields.refuse("prompt", must);
  request.prompts = read_texts(fields, "prompt", must, static_cast<size_t>(limits.choices));
  for (size_t i = 0; i < request.prompts.size(); ++i)
    if (const size_t bytes = request.prompts[i].size(); bytes > static_cast<size_t>(limits.prompt_bytes))
      throw RequestError(
          400,
          fmt::format("the field \"prompt\" has a text of {} bytes, number {} of {}; a prompt may have {}",
                      bytes, i + 1, request.prompts.size(), limits.prompt_bytes),
          "prompt", "context_length_exceeded");
  fields.read("n", request.n, 1, limits.choices);
  const int64_t choices = request.n * static_cast<int64_t>(request.prompts.size());
  if (choices > limits.choices)
    throw RequestError(
        400,
        fmt::format("the field \"n\" is {}, with {} prompts; both multiplied may be at most {}", request.n,
                    request.prompts.size(), limits.choices),
        "n");
}

void read_stop(const Fields& fields, CompletionRequest& request) {
  if (!fields.find("stop")) return;
  const std::string must =
      fmt::format("a text, or a list of 1 to {} texts, each of 1 to {} bytes", kMostStops, kLongestStop);
  request.stop = read_texts(fields, "stop", must, kMostStops);
  for (const std::string& text : request.stop)
    if (text.empty() || text.size() > kLongestStop) fields.refuse("stop", must);
}

void read_sampling(const Fields& fields, CompletionRequest& request) {
  const std::string temperature_must = "a number, 0 (always the most probable token) or above";
  fields.read("temperature", request.sampling.temperature, temperature_must);
  if (!(request.sampling.temperature >= 0) || !std::isfinite(request.sampling.temperature))
    fields.refuse("temperature", temperature_must);
  const std::string top_p_must = "a number above 0, and at most 1";
  fields.read("top_p", request.sampling.top_p, top_p_must);
  if (!(request.sampling.top_p > 0 && request.sampling.top_p <= 1)) fields.refuse("top_p", top_p_must);
  if (fields.find("seed")) {
    int64_t seed = 0;
    fields.read("seed", seed, "a whole number of at most 63 bits");
    request.seed = static_cast<uint64_t>(seed);
  }
}

void read_stream(const Fields& fields, CompletionRequest& request) {
  fields.read("stream", request.stream, "true or false");
  const json* const options = fields.find("stream_options");
  if (!options) return;
  if (!options->is_object()) fields.refuse("stream_options", "an object");
  Fields(*options).read("include_usage", request.include_usage, "true or false");
}

// Refuses what would change the text and is not supported, unless it asks for nothing.
void refuse_unsupported(const Fields& fields, const CompletionRequest& request) {
  if (const json* const suffix = fields.find("suffix"); suffix && *suffix != "")
    fields.refuse("suffix", "left out: models here continue a text, and see nothing after it");
  if (const json* const best_of = fields.find("best_of"); best_of && *best_of != request.n)
    fields.refuse("best_of", fmt::format("left out, or as many as n, which is {}", request.n));
  if (const json* const bias = fields.find("logit_bias"); bias && *bias != json::object())
    fields.refuse("logit_bias", "left out: it is not supported");
  for (const char* const penalty : {"presence_penalty", "frequency_penalty"})
    if (const json* const value = fields.find(penalty); value && *value != 0)
      fields.refuse(penalty, "left out, or 0: it is not supported");
}

}  // namespace

CompletionRequest parse_completion_request(std::string_view body, const RequestLimits& limits) {
  json parsed;
  try {
    parsed = parse_json(body, "the request");
  } catch (const Error& error) {
    throw RequestError(400, error.what());
  }
  if (!parsed.is_object())
    throw RequestError(400, fmt::format("the request is {}; it must be an object", json_start(parsed)));
  const Fields fields(parsed);
  CompletionRequest request;
  fields.read("model", request.model, "a text");
  read_prompts(fields, request, limits);
  request.max_tokens = std::min(request.max_tokens, limits.max_tokens);  // of the default
  fields.read("max_tokens", request.max_tokens, 0, limits.max_tokens);
  read_sampling(fields, request);
  if (fields.find("logprobs")) {
    int64_t logprobs = 0;
    fields.read("logprobs", logprobs, 0, kMostLogprobs);
    request.logprobs = logprobs;
  }
  read_stop(fields, request);
  fields.read("echo", request.echo, "true or false");
  read_stream(fields, request);
  refuse_unsupported(fields, request);
  return request;
}

}  // namespace tandem
