// The body of a request to /v1/completions, checked: a pure function of its text.
//
// The fields are those of OpenAI's API for completions (the "legacy" one, which evaluation harnesses use, since it gives
// the log-probabilities of a prompt).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tandem/core/error.h"
#include "tandem/models/training/sampling.h"

namespace tandem {

// The most that one request may ask for.
struct RequestLimits {
  int64_t max_tokens = 4096;     // tokens drawn for each choice
  int64_t prompt_bytes = 65536;  // of one prompt
  int64_t choices = 128;         // prompts times n
};

struct CompletionRequest {
  std::string model;                 // the name of the model; empty: the request gives none
  std::vector<std::string> prompts;  // at least one, which may be empty
  int64_t max_tokens = 16;           // tokens to draw; 0: none, for the scores of a prompt
  int64_t n = 1;                     // choices for each prompt
  SamplingOptions sampling;          // its seed is not used
  std::optional<uint64_t> seed;
  std::optional<int64_t>
      logprobs;  // gives log-probabilities, and those of so many most probable tokens, 0 to 5
  std::vector<std::string> stop;  // the text ends before the first of these
  bool echo = false;              // begins the text with the prompt
  bool stream = false;
  bool include_usage = false;  // ends a stream with the number of tokens
};

// A request that is refused: the status and the fields of the answer's error object.
class RequestError : public Error {
 public:
  RequestError(int status, const std::string& message, std::string param = "", std::string code = "")
      : Error(message), status(status), param(std::move(param)), code(std::move(code)) {}

  int status;
  std::string param;  // the field of the request; empty: none
  std::string code;   // a name of the error, for programs; empty: none
};

// Reads a request. A field that is null counts as absent, and unknown fields are ignored.
// Error: RequestError of status 400, with the name of the field and its value: the text is not JSON, nested deeply, or no
// object; a field has the wrong type or lies outside of its range or of the limits; a field of OpenAI's that would change
// the text, and that is not supported here (suffix, best_of, logit_bias, penalties), asks for something.
CompletionRequest parse_completion_request(std::string_view body, const RequestLimits& limits = {});

}  // namespace tandem
