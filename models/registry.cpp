// The table of models.
#include "models/registry.h"

#include <fmt/format.h>

#include "core/check.h"
#include "models/config_fields.h"
#include "models/evolved_transformer/evolved_transformer.h"
#include "models/lstm/lstm.h"
#include "models/qrnn/qrnn.h"
#include "models/sha_rnn/sha_rnn.h"
#include "models/sru/sru.h"
#include "models/srupp/srupp.h"
#include "models/stack/stack.h"
#include "models/transformer/transformer.h"

namespace tandem {
namespace {

struct Maker {
  const char* name;
  std::unique_ptr<LanguageModel> (*make)(const std::string& config, uint64_t seed, Device device);
};

template <class Config, std::unique_ptr<LanguageModel> (*kMake)(const Config&, uint64_t)>
std::unique_ptr<LanguageModel> make_from_text(const std::string& text, uint64_t seed, Device device) {
  Config config = Config::from_text(text);
  config.device = device;
  return kMake(config, seed);
}

constexpr Maker kMakers[] = {
    {"srupp", make_from_text<SruppConfig, make_srupp>},
    {"sru", make_from_text<SruConfig, make_sru>},
    {"lstm", make_from_text<LstmConfig, make_lstm>},
    {"qrnn", make_from_text<QrnnConfig, make_qrnn>},
    {"sha-rnn", make_from_text<ShaRnnConfig, make_sha_rnn>},
    {"shaq", make_from_text<ShaRnnConfig, make_sha_rnn>},
    {"transformer", make_from_text<TransformerConfig, make_transformer>},
    {"transformer-xl", make_from_text<TransformerConfig, make_transformer>},
    {"primer-ez", make_from_text<TransformerConfig, make_transformer>},
    {"primer", make_from_text<TransformerConfig, make_transformer>},
    {"evolved-transformer", make_from_text<EvolvedTransformerConfig, make_evolved_transformer>},
    {"stack", make_from_text<StackConfig, make_stack>},
};

}  // namespace

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const Maker& maker : kMakers) names.emplace_back(maker.name);
  return names;
}

std::unique_ptr<LanguageModel> make_model(const std::string& config, uint64_t seed, Device device) {
  const std::string name = model_of_config(config);
  CHECK(!name.empty(), "model: the configuration must be a JSON object with a field \"model\": {}", config);
  for (const Maker& maker : kMakers)
    if (name == maker.name) return maker.make(config, seed, device);
  detail::fail("model: {} is not known; there are {}", name, fmt::join(model_names(), ", "));
}

}  // namespace tandem
