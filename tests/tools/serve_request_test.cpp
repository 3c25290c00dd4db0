// Requests of serve: what is read, and how what is wrong is refused.
#include "tandem/tools/run/serve/completion_request.h"

#include <doctest/doctest.h>

#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

constexpr RequestLimits kLimits = {.max_tokens = 100, .prompt_bytes = 20, .choices = 6};

CompletionRequest read(const std::string& fields) {
  return parse_completion_request(R"({"prompt": "a", )" + fields + "}", kLimits);
}

// Returns "STATUS PARAM: MESSAGE" of the refusal of a body.
std::string refusal(const std::string& body) {
  try {
    parse_completion_request(body, kLimits);
  } catch (const RequestError& error) {
    return std::to_string(error.status) + " " + error.param + ": " + error.what();
  }
  return "accepted";
}

std::string refusal_of(const std::string& field, const std::string& value) {
  return refusal("{\"prompt\": \"a\", \"" + field + "\": " + value + "}");
}

TEST_CASE("serve, requests: a prompt alone has the defaults of OpenAI's API") {
  const CompletionRequest request = parse_completion_request(R"({"prompt": "It's"})", kLimits);
  CHECK(request.prompts == std::vector<std::string>{"It's"});
  CHECK(request.model.empty());
  CHECK(request.max_tokens == 16);
  CHECK(parse_completion_request(R"({"prompt": "a"})", {.max_tokens = 10, .prompt_bytes = 20, .choices = 6})
            .max_tokens == 10);
  CHECK(request.n == 1);
  CHECK(request.sampling.temperature == 1);
  CHECK(request.sampling.top_p == 1);
  CHECK_FALSE(request.seed);
  CHECK_FALSE(request.logprobs);
  CHECK(request.stop.empty());
  CHECK_FALSE(request.echo);
  CHECK_FALSE(request.stream);
  CHECK_FALSE(request.include_usage);
}

TEST_CASE("serve, requests: every field is read") {
  const CompletionRequest request = parse_completion_request(
      R"({"model": "m", "prompt": ["a", "", "\u00e4\ud83d\ude00"], "max_tokens": 100, "n": 2, "temperature": 0,
          "top_p": 0.5, "seed": -3, "logprobs": 5, "stop": ["\n", "end"], "echo": true, "stream": true,
          "stream_options": {"include_usage": true, "more": 1}, "user": "unknown fields are ignored", "best_of": 2,
          "logit_bias": {}, "presence_penalty": 0, "frequency_penalty": 0.0, "suffix": ""})",
      kLimits);
  CHECK(request.model == "m");
  CHECK(request.prompts == std::vector<std::string>{"a", "", "\u00e4\U0001f600"});
  CHECK(request.max_tokens == 100);
  CHECK(request.n == 2);
  CHECK(request.sampling.temperature == 0);
  CHECK(request.sampling.top_p == 0.5);
  CHECK(request.seed == static_cast<uint64_t>(-3));
  CHECK(request.logprobs == 5);
  CHECK(request.stop == std::vector<std::string>{"\n", "end"});
  CHECK(request.echo);
  CHECK(request.stream);
  CHECK(request.include_usage);
  CHECK(read(R"("stop": "x")").stop == std::vector<std::string>{"x"});
  const CompletionRequest nulls = read(R"("max_tokens": null, "stop": null, "logprobs": null, "seed": null,
      "stream_options": null, "suffix": null, "best_of": null, "model": null, "n": null, "echo": null)");
  CHECK(nulls.max_tokens == 16);
  CHECK_FALSE(nulls.logprobs);
  CHECK(read(R"("logprobs": 0)").logprobs == 0);
  CHECK(read(R"("max_tokens": 0)").max_tokens == 0);
}

TEST_CASE("serve, requests: a wrong value is refused with the name of its field, the value and the range") {
  CHECK(refusal_of("max_tokens", "101") ==
        "400 max_tokens: the field \"max_tokens\" is 101; it must be a whole number from 0 to 100");
  for (const char* wrong : {"-1", "1.5", "1e3", "\"5\"", "true", "[5]", "{}", "9223372036854775808", "1e300"})
    CHECK(contains(refusal_of("max_tokens", wrong), "400 max_tokens: the field \"max_tokens\" is "));
  CHECK(contains(refusal_of("temperature", "-0.1"),
                 "temperature: the field \"temperature\" is -0.1; it must be a number"));
  CHECK(contains(refusal_of("temperature", "\"hot\""), "temperature\" is \"hot\""));
  CHECK(contains(refusal_of("top_p", "0"), "top_p\" is 0; it must be a number above 0, and at most 1"));
  CHECK(contains(refusal_of("top_p", "1.01"), "top_p\" is 1.01"));
  CHECK(contains(refusal_of("n", "0"), "400 n: the field \"n\" is 0; it must be a whole number from 1 to 6"));
  CHECK(contains(refusal_of("n", "7"), "\"n\" is 7"));
  CHECK(contains(refusal_of("logprobs", "6"), "whole number from 0 to 5"));
  CHECK(contains(refusal_of("logprobs", "true"), "\"logprobs\" is true"));
  CHECK(contains(refusal_of("seed", "1.5"), "\"seed\" is 1.5"));
  CHECK(contains(refusal_of("seed", "18446744073709551615"), "\"seed\" is 18446744073709551615"));
  CHECK(contains(refusal_of("stop", "\"\""), "400 stop: "));
  CHECK(contains(refusal_of("stop", "[]"), "400 stop: "));
  CHECK(contains(refusal_of("stop", "[\"a\", 1]"), "\"stop\" is [\"a\",1]"));
  CHECK(contains(refusal_of("stop", "[\"" + std::string(2000, 'x') + "\"]"), "..."));
  CHECK(contains(refusal_of("echo", "1"), "400 echo: the field \"echo\" is 1; it must be true or false"));
  CHECK(contains(refusal_of("stream", "\"yes\""), "400 stream: "));
  CHECK(contains(refusal_of("stream_options", "1"), "400 stream_options: "));
  CHECK(contains(refusal_of("stream_options", R"({"include_usage": 1})"), "400 include_usage: "));
  CHECK(contains(refusal_of("model", "5"), "400 model: the field \"model\" is 5; it must be a text"));
}

TEST_CASE("serve, requests: prompts are texts, and their number and length have limits") {
  const auto prompt = [](const std::string& value) { return refusal("{\"prompt\": " + value + "}"); };
  CHECK(
      contains(refusal("{}"),
               "400 prompt: the field \"prompt\" is missing; it must be a text, or a list of 1 to 6 texts"));
  CHECK(contains(prompt("null"), "\"prompt\" is null"));
  CHECK(contains(prompt("[]"), "\"prompt\" is []"));
  CHECK(contains(prompt("[1, 2, 3]"), "\"prompt\" is [1,2,3]"));
  CHECK(contains(prompt("[[1]]"), "400 prompt: "));
  CHECK(contains(prompt("{\"a\": 1}"), "400 prompt: "));
  CHECK(contains(prompt("[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\"]"), "400 prompt: "));
  CHECK(contains(
      prompt("[\"\", \"" + std::string(21, 'x') + "\"]"),
      "400 prompt: the field \"prompt\" has a text of 21 bytes, number 2 of 2; a prompt may have 20"));
  CHECK(prompt("\"" + std::string(20, 'x') + "\"") == "accepted");
  CHECK(refusal(R"({"prompt": ["a", "b", "c"], "n": 2})") == "accepted");
  CHECK(contains(refusal(R"({"prompt": ["a", "b", "c"], "n": 3})"),
                 "400 n: the field \"n\" is 3, with 3 prompts; both multiplied may be at most 6"));
}

TEST_CASE("serve, requests: what would change the text, and is not supported, is refused") {
  CHECK(contains(refusal_of("suffix", "\"end\""), "400 suffix: "));
  CHECK(contains(refusal_of("best_of", "2"),
                 "400 best_of: the field \"best_of\" is 2; it must be left out, or as many as n"));
  CHECK(contains(refusal_of("logit_bias", R"({"50256": -100})"), "400 logit_bias: "));
  CHECK(contains(refusal_of("presence_penalty", "0.5"), "400 presence_penalty: "));
  CHECK(contains(refusal_of("frequency_penalty", "-1"), "400 frequency_penalty: "));
}

TEST_CASE("serve, requests: what is no JSON object is refused, however it is damaged") {
  for (const std::string body :
       {"", " ", "{", "{\"prompt\": \"a\"", "nonsense", "{\"prompt\": \"a\"} more", "{\"prompt\": \"\xff\"}",
        "{\"prompt\": \"\xc3\"}", "{\"prompt\": \"\\ud800\"}", "{\"prompt\": \"a\", \"prompt\": \"b\"}",
        "{\"max_tokens\": 1e999}", "\xef\xbb\xbf"})
    CHECK(refusal(body).starts_with("400 : the request"));
  CHECK(refusal(std::string("{\0}", 3)).starts_with("400 : the request"));
  CHECK(refusal(std::string(100'000, '[')).starts_with("400 : the request: nested more than 32 deep"));
  for (const char* body : {"[]", "5", "\"prompt\"", "null", "true"})
    CHECK(contains(refusal(body), "; it must be an object"));
  // Unknown fields may hold any JSON.
  CHECK(refusal(R"({"prompt": "a", "x": [[[{"y": 1e300}]]]})") == "accepted");
}

}  // namespace
}  // namespace tandem::testing
