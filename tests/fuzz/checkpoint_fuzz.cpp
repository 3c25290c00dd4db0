// Checkpoints: any bytes are a checkpoint or an Error, also with pruned and quantized parameters; one that was read can
// be written and read back; the model of one is made or refused.
#include "tandem/models/training/checkpoint.h"

#include "mutators.h"
#include "support.h"
#include "tandem/models/training/model_file.h"

namespace tandem::fuzz {
namespace {

void check_same(const Checkpoint& a, const Checkpoint& b) {
  require(a.model_config == b.model_config && a.run_config == b.run_config && a.progress == b.progress,
          "texts come back");
  require(a.vocabulary == b.vocabulary, "the vocabulary comes back");
  require(same_tensors(a.parameters, b.parameters) && same_tensors(a.optimizer, b.optimizer) &&
              same_tensors(a.state, b.state) && same_tensors(a.masks, b.masks),
          "tensors come back bit for bit");
  require(a.quantized.size() == b.quantized.size(), "quantized parameters come back");
}

}  // namespace
}  // namespace tandem::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  return tandem::fuzz::mutate_safetensors(data, size, max_size, seed, "checkpoint");
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  using namespace tandem::fuzz;
  const std::string path = file_of(data, size);
  accepts([&] {
    const LoadedModel loaded = load_model_file(path);
    require(loaded.vocabulary.size() == loaded.model->vocabulary_size(), "a model predicts its vocabulary");
    accepts([&] { multiply_in_int8(loaded); });
  });

  Checkpoint checkpoint;
  if (!accepts([&] { checkpoint = load_checkpoint(path); })) return 0;
  const std::string again = scratch_file("again");
  require(accepts([&] { save_checkpoint(again, checkpoint); }), "a checkpoint that was read can be written");
  Checkpoint back;
  require(accepts([&] { back = load_checkpoint(again); }), "a checkpoint that was written can be read");
  check_same(checkpoint, back);
  return 0;
}
