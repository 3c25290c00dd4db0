// Configurations, models and tokens of the checks.
#include "tests/testing/model_inputs.h"

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/core/random.h"
#include "tandem/models/registry.h"
#include "tests/support/devices.h"

namespace tandem::testing {

std::vector<Device> devices_of(const ModelChecks& checks) {
  return checks.on_gpu ? test_devices() : std::vector{Device::cpu()};
}

nlohmann::json config_of(const std::string& text) {
  nlohmann::json config = nlohmann::json::parse(text);
  config["vocabulary"] = kSmallVocabulary;
  config["dtype"] = "f64";
  return config;
}

nlohmann::json whole_config_of(const std::string& text) {
  return nlohmann::json::parse(make_model(config_of(text).dump(), 1)->config());
}

std::unique_ptr<LanguageModel> make_shaken(const nlohmann::json& config, Device device) {
  std::unique_ptr<LanguageModel> model = make_model(config.dump(), 1, device);
  Random random(17);
  for (const NamedTensor& parameter : model->parameters()) {
    const Tensor noise = uniform(parameter.value.shape(), random, -0.3, 0.3, DType::f64);
    add_in_place(parameter.value, noise.to(parameter.value.dtype()).to(device));
  }
  return model;
}

Tensor random_tokens(int64_t steps, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < steps * kBatch; ++i)
    ids.push_back(static_cast<int32_t>(random.below(kSmallVocabulary)));
  return tensor_of<int32_t>({steps, kBatch}, ids);
}

std::vector<std::vector<double>> gradients_of(const LanguageModel& model) {
  std::vector<std::vector<double>> all;
  for (const NamedTensor& parameter : model.parameters()) {
    const Tensor gradient = grad(parameter.value);
    all.push_back(gradient.defined() ? gradient.to(DType::f64).to_vector<double>()
                                     : std::vector<double>(static_cast<size_t>(parameter.value.numel())));
  }
  return all;
}

}  // namespace tandem::testing
