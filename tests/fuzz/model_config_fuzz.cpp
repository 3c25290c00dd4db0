// Configurations of models: a text is a model or an Error; the model's own configuration makes it again, and it is
// trained and generates, or refuses to.
#include <cctype>
#include <nlohmann/json.hpp>

#include "mutators.h"
#include "support.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/models/registry.h"

namespace tandem::fuzz {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kLargestSize =
    64;  // larger sizes would only take time; whether they are refused is not asked here

constexpr int64_t kLargestModel =
    1 << 18;  // parameters of a model that is trained: more come from sizes left out

// Limits the numbers in a text, such as the 8 of "srupp*8", to two digits.
std::string short_numbers(const std::string& text) {
  std::string limited;
  int digits = 0;
  for (const char c : text) {
    digits = std::isdigit(static_cast<unsigned char>(c)) ? digits + 1 : 0;
    if (digits <= 2) limited += c;
  }
  return limited;
}

void limit_sizes(Json& json) {
  if (json.is_structured())
    for (Json& item : json) limit_sizes(item);
  else if (json.is_number_unsigned() && json.get<uint64_t>() > kLargestSize)
    json = json.get<uint64_t>() % kLargestSize;
  else if (json.is_string())
    json = short_numbers(json.get<std::string>());
}

constexpr int64_t kSteps = 3, kRows = 2;  // of the text

Tensor some_tokens(const LanguageModel& model, const Shape& shape) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < shape.numel(); ++i)
    ids.push_back(static_cast<int32_t>(i % model.vocabulary_size()));
  return tensor_of<int32_t>(shape, ids);
}

void take_steps(const LanguageModel& model) {
  const Tensor tokens = some_tokens(model, {kSteps, kRows});
  State state;
  for (int step = 0; step < 2; ++step) {  // the second with the state of the first
    Tape tape;
    tape.backward(model.loss(tokens, tokens, state, {.training = true, .seed = 1}));
  }
}

void generate(const LanguageModel& model) {
  const std::unique_ptr<Decoder> decoder = model.decoder(kRows, {.memory = 2, .same_length = true});
  for (int64_t step = 0; step < kSteps; ++step) {
    const Tensor logits = decoder->step(some_tokens(model, {kRows}));
    require(logits.shape() == Shape({kRows, model.vocabulary_size()}), "there is a logit for each symbol");
  }
}

}  // namespace
}  // namespace tandem::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  return tandem::fuzz::mutate_json(data, size, max_size, seed, "model_config");
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  using namespace tandem::fuzz;
  std::string text(text_of(data, size));
  Json json = parse_shallow(text);
  if (!json.is_discarded()) {
    limit_sizes(json);
    text = json.dump();
  }
  std::unique_ptr<LanguageModel> model;
  if (!accepts([&] { model = make_model(text, 1); })) return 0;

  require(model->vocabulary_size() > 0 && model->parameter_count() > 0, "a model has symbols and parameters");
  if (model->parameter_count() > kLargestModel) return 0;
  const std::unique_ptr<LanguageModel> again = make_model(model->config(), 1);
  require(again->config() == model->config(), "a model's configuration is that of the model made from it");
  require(same_tensors(again->parameters(), model->parameters()), "the same seed gives the same parameters");
  accepts([&] { take_steps(*model); });
  accepts([&] { generate(*model); });
  return 0;
}
