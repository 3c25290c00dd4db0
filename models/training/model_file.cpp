// Tells the two kinds of model files apart and loads each.
#include "tandem/models/training/model_file.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tandem/core/allocation_budget.h"
#include "tandem/core/check.h"
#include "tandem/core/format.h"
#include "tandem/core/json.h"
#include "tandem/core/safetensors.h"
#include "tandem/core/utf8.h"
#include "tandem/models/registry.h"
#include "tandem/models/srupp/authors_weights.h"
#include "tandem/models/training/checkpoint.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

// Returns ", 8-bit weights, 60 % pruned", or the half of it that applies, or "".
std::string compression_text(const Checkpoint& checkpoint) {
  std::string text;
  if (!checkpoint.quantized.empty())
    text += fmt::format(", {}-bit weights", checkpoint.quantized.begin()->second.bits);
  int64_t weights = 0, kept = 0;
  for (const NamedTensor& mask : checkpoint.masks) {
    weights += mask.value.numel();
    for (const uint8_t one : mask.value.span<uint8_t>()) kept += one;
  }
  if (weights > 0)
    text += fmt::format(", {:.3g} % pruned",
                        100 * (1 - static_cast<double>(kept) / static_cast<double>(weights)));
  return text;
}

// Builds the model into which these parameters are to be loaded. Error: the configuration describes a much larger one,
// which is found before its memory is taken.
std::unique_ptr<LanguageModel> make_model_for(const std::vector<NamedTensor>& parameters,
                                              const std::string& config, DType dtype, Device device) {
  constexpr size_t kSlack = size_t{8} << 20;  // for what layers make beside their parameters
  size_t bytes = 0, cost = kSlack;
  for (const NamedTensor& parameter : parameters) {
    const size_t own = static_cast<size_t>(parameter.value.numel()) * size_of(dtype);
    bytes += own;
    cost += 2 * AllocationBudget::cost(own);  // twice, since initial values may be made from others
  }
  const AllocationBudget budget(
      cost,
      fmt::format("the configuration describes a model that is larger than the file's {} parameters of {}",
                  parameters.size(), bytes_text(bytes)));
  return make_model(config, 0, device);
}

// Returns ", step 1000" for a checkpoint of a run, "" for weights alone.
std::string step_text(const std::string& progress) {
  if (progress.empty()) return "";
  constexpr const char* kWhat = "the checkpoint's progress";
  return fmt::format(", step {}", json_field<int64_t>(parse_json(progress, kWhat), "step", kWhat));
}

LoadedModel from_checkpoint(const std::string& path, int64_t heads, DType dtype, Device device) {
  const Checkpoint checkpoint = load_checkpoint(path, CheckpointPart::model);
  nlohmann::json config = parse_json(checkpoint.model_config, "the model's configuration");
  TANDEM_CHECK(config.is_object(), "the model's configuration is not a JSON object: {}",
               printable_start(checkpoint.model_config));
  const int64_t own_heads =
      config.contains("heads") ? json_field<int64_t>(config, "heads", "the model's configuration") : 1;
  TANDEM_CHECK(heads == 0 || own_heads == heads,
               "heads are given as {}, but this checkpoint was trained with {}; leave them out", heads,
               own_heads);
  config["dtype"] = name_of(dtype);

  LoadedModel loaded;
  loaded.model = make_model_for(checkpoint.parameters, config.dump(), dtype, device);
  loaded.model->load(checkpoint.parameters);
  loaded.vocabulary = checkpoint.vocabulary;
  loaded.kind = "checkpoint of Tandem" + step_text(checkpoint.progress) + compression_text(checkpoint);
  loaded.quantized = checkpoint.quantized;
  loaded.pruned = !checkpoint.masks.empty();
  if (!checkpoint.run_config.empty()) loaded.run = RunConfig::from_text(checkpoint.run_config);
  return loaded;
}

LoadedModel from_authors(const SafetensorsFile& file, int64_t heads, DType dtype, Device device) {
  const auto vocabulary = file.metadata().find("vocab");
  TANDEM_CHECK(
      vocabulary != file.metadata().end(),
      "the authors' SRU++ weights need the metadata \"vocab\": two hex digits for each byte value, in id order");
  std::vector<NamedTensor> weights;
  for (const std::string& name : file.names()) weights.push_back({name, file.get(name)});

  LoadedModel loaded;
  loaded.vocabulary = Vocabulary::from_hex(vocabulary->second);
  loaded.model = load_authors_srupp(weights, heads == 0 ? 1 : heads, dtype, device);
  loaded.kind = "the authors' SRU++ weights";
  return loaded;
}

constexpr const char* kExpected =
    "expected a checkpoint of Tandem or the authors' SRU++ weights, as safetensors";

SafetensorsFile open_model(const std::string& path) {
  try {
    return SafetensorsFile::open(path);
  } catch (const Error& error) {
    if (!std::filesystem::exists(path)) throw;
    detail::fail("{}; {}", error.what(), kExpected);
  }
}

LoadedModel load_any(const std::string& path, int64_t heads, DType dtype, Device device) {
  const SafetensorsFile file = open_model(path);
  if (file.metadata().contains("format") && file.metadata().contains("model"))
    return from_checkpoint(path, heads, dtype, device);
  std::vector<NamedTensor> names;
  for (const std::string& name : file.names()) names.push_back({name, Tensor()});
  TANDEM_CHECK(is_authors_srupp(names), "not a model: {} tensors{}; {}", names.size(),
               names.empty() ? "" : ", the first is " + printable_start(names[0].name), kExpected);
  return from_authors(file, heads, dtype, device);
}

}  // namespace

LoadedModel load_model_file(const std::string& path, int64_t heads, DType dtype, Device device) {
  TANDEM_CHECK(heads >= 0, "{}: heads are {}; give a positive number, or none", path, heads);
  TANDEM_CHECK(dtype == DType::f32 || dtype == DType::f64, "{}: a model computes in f32 or f64, not in {}",
               path, name_of(dtype));
  LoadedModel loaded;
  try {
    loaded = load_any(path, heads, dtype, device);
  } catch (const OutOfMemory&) {
    throw;  // as it is, since callers add their own advice
  } catch (const Error& error) {
    const std::string message = error.what();
    if (message.find(printable(path)) != std::string::npos) throw;  // as messages show it
    detail::fail("{}: {}", path, message);
  }
  TANDEM_CHECK(loaded.vocabulary.size() == loaded.model->vocabulary_size(),
               "{}: the vocabulary has {} symbols, the model predicts {}", path, loaded.vocabulary.size(),
               loaded.model->vocabulary_size());
  return loaded;
}

void multiply_in_int8(const LoadedModel& loaded) {
  for (const NamedTensor& parameter : loaded.model->parameters()) {
    const auto found = loaded.quantized.find(parameter.name);
    if (found == loaded.quantized.end() || parameter.value.rank() != 2) continue;
    const Quantized& q = found->second;
    set_int8(parameter.value, std::make_shared<const Int8Weight>(q.codes, q.step, q.zero));
  }
}

}  // namespace tandem
