// Requests of serve: any text is one or a RequestError whose status a client understands, and what was read lies in the
// limits.
#include "tandem/tools/run/serve/completion_request.h"

#include <cmath>

#include "mutators.h"
#include "support.h"
#include "tandem/core/utf8.h"

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  return tandem::fuzz::mutate_json(data, size, max_size, seed, "completion_request");
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  using namespace tandem::fuzz;
  const RequestLimits limits = {.max_tokens = 50, .prompt_bytes = 100, .choices = 10};
  CompletionRequest request;
  try {
    request = parse_completion_request(text_of(data, size), limits);
  } catch (const RequestError& error) {
    require(error.status == 400, "a refused request is the client's fault");
    require(is_utf8(error.what()) && is_utf8(error.param), "an error can be sent");
    return 0;
  }
  require(!request.prompts.empty() && request.n >= 1 &&
              request.n * static_cast<int64_t>(request.prompts.size()) <= limits.choices,
          "there are prompts, and choices within the limit");
  for (const std::string& prompt : request.prompts)
    require(is_utf8(prompt) && prompt.size() <= static_cast<size_t>(limits.prompt_bytes),
            "prompts are texts");
  for (const std::string& stop : request.stop)
    require(is_utf8(stop) && !stop.empty(), "stop texts are texts");
  require(request.max_tokens >= 0 && request.max_tokens <= limits.max_tokens,
          "max_tokens is within the limit");
  require(!request.logprobs || (*request.logprobs >= 0 && *request.logprobs <= 5), "logprobs is 0 to 5");
  request.sampling.check();
  return 0;
}
