// Safetensors: any bytes are a file or an Error, and a file that was read can be written and read back.
#include "tandem/core/safetensors.h"

#include <algorithm>

#include "mutators.h"
#include "support.h"

namespace tandem::fuzz {
namespace {

struct Content {
  std::vector<NamedTensor> tensors;
  std::map<std::string, std::string> metadata;
};

Content content_of(const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  Content content;
  for (const std::string& name : file.names()) {
    content.tensors.push_back({name, file.get(name)});
    require(file.get(name, file.dtype(name), file.shape(name)).defined(),
            "a tensor has its own dtype and shape");
  }
  content.metadata = file.metadata();
  // The writer adds these of its own.
  std::erase_if(content.metadata, [](const auto& entry) { return entry.first.starts_with("tandem."); });
  return content;
}

}  // namespace
}  // namespace tandem::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  return tandem::fuzz::mutate_safetensors(data, size, max_size, seed, "safetensors");
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  using namespace tandem::fuzz;
  Content content;
  const std::string path = file_of(data, size);
  if (!accepts([&] { content = content_of(path); })) return 0;

  NamedTensors tensors;
  for (const NamedTensor& tensor : content.tensors) tensors.emplace_back(tensor.name, tensor.value);
  const std::string again = scratch_file("again");
  // A tensor without a name can be read but not written.
  if (!accepts([&] { write_safetensors(again, tensors, content.metadata); })) {
    require(std::ranges::any_of(tensors, [](const auto& tensor) { return tensor.first.empty(); }),
            "what was read can be written");
    return 0;
  }
  const Content back = content_of(again);
  require(same_tensors(content.tensors, back.tensors), "tensors come back bit for bit");
  require(content.metadata == back.metadata, "metadata come back");
  return 0;
}
