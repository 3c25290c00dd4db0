// The SRU++ authors' weights: a file is a model or an Error, and the model gives the weights back bit for bit.
#include "tandem/models/srupp/authors_weights.h"

#include "mutators.h"
#include "support.h"
#include "tandem/core/safetensors.h"

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  return tandem::fuzz::mutate_safetensors(data, size, max_size, seed, "authors_weights");
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  using namespace tandem::fuzz;
  std::vector<NamedTensor> weights;
  std::unique_ptr<LanguageModel> model;
  const std::string path = file_of(data, size);
  const bool read = accepts([&] {
    const SafetensorsFile file = SafetensorsFile::open(path);
    for (const std::string& name : file.names()) weights.push_back({name, file.get(name)});
    model = load_authors_srupp(weights);
  });
  if (!read) return 0;

  require(is_authors_srupp(weights), "weights that are read are the authors'");
  // Tensors that SRU++ does not use, and conversions from other dtypes, do not come back.
  std::erase_if(weights, [](const NamedTensor& weight) { return weight.name.ends_with(".scale_x"); });
  for (NamedTensor& weight : weights) weight.value = weight.value.to(DType::f32);
  const SruppConfig config = SruppConfig::from_text(model->config());
  require(same_tensors(to_authors_layout(model->parameters(), config), weights),
          "weights come back bit for bit");
  return 0;
}
