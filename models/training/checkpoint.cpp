// Checkpoints as safetensors: the prefix of a tensor's name says what it is, metadata holds the rest.
#include "tandem/models/training/checkpoint.h"

#include "tandem/core/check.h"
#include "tandem/core/safetensors.h"
#include "tandem/core/utf8.h"
#include "tandem/models/training/packed_parameters.h"

namespace tandem {
namespace {

// Files of the first format may lack digests; those of the second have them (core/safetensors.h).
constexpr const char* kFirstFormat = "tandem-checkpoint-1";
constexpr const char* kFormat = "tandem-checkpoint-2";
constexpr const char* kOptimizer = "optimizer.";
constexpr const char* kState = "state.";
constexpr const char* kCompressed = "compressed";  // metadata: PackedParameters::index
// The vocabulary, as Vocabulary::stored() gives it, is one of these tensors or, for bytes, the metadata "vocab".
constexpr const char* kWords = "vocabulary.words";
constexpr const char* kSubwords = "vocabulary.subwords";

void append(NamedTensors& to, const char* prefix, const std::vector<NamedTensor>& from) {
  for (const NamedTensor& tensor : from)
    to.emplace_back(prefix + tensor.name, tensor.value.to(Device::cpu()));
}

Tensor tensor_of_text(const std::string& text) {
  return tensor_of({static_cast<int64_t>(text.size())}, std::vector<uint8_t>(text.begin(), text.end()));
}

std::string text_of_tensor(const SafetensorsFile& file, const char* name) {
  TANDEM_CHECK(file.dtype(name) == DType::u8, "{}: tensor {} is {}, not u8", file.path(), name,
               name_of(file.dtype(name)));
  const std::vector<uint8_t> bytes = file.get(name).to_vector<uint8_t>();
  return {bytes.begin(), bytes.end()};
}

std::string field(const SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  TANDEM_CHECK(found != file.metadata().end(), "{}: checkpoint without metadata \"{}\"", file.path(), key);
  return found->second;
}

// Error, which names the file: there is no vocabulary, or one that cannot be read.
Vocabulary vocabulary_of(const SafetensorsFile& file) {
  const TokenUnit level = file.has(kWords)      ? TokenUnit::word
                          : file.has(kSubwords) ? TokenUnit::subword
                                                : TokenUnit::byte;
  const std::string stored = level == TokenUnit::byte
                                 ? field(file, "vocab")
                                 : text_of_tensor(file, level == TokenUnit::word ? kWords : kSubwords);
  try {
    return Vocabulary::from_stored(level, stored);
  } catch (const Error& error) {
    detail::fail("{}: {}", file.path(), error.what());
  }
}

}  // namespace

void save_checkpoint(const std::string& path, const Checkpoint& checkpoint) {
  NamedTensors tensors;
  const PackedParameters packed = pack_parameters(checkpoint);
  append(tensors, kModelPrefix, packed.tensors);
  append(tensors, kOptimizer, checkpoint.optimizer);
  append(tensors, kState, checkpoint.state);
  std::map<std::string, std::string> metadata = {{"format", kFormat},
                                                 {"model", checkpoint.model_config},
                                                 {"run", checkpoint.run_config},
                                                 {"progress", checkpoint.progress}};
  const TokenUnit level = checkpoint.vocabulary.level();
  if (level == TokenUnit::byte)
    metadata["vocab"] = checkpoint.vocabulary.stored();
  else
    tensors.emplace_back(level == TokenUnit::word ? kWords : kSubwords,
                         tensor_of_text(checkpoint.vocabulary.stored()));
  if (!packed.index.empty()) metadata[kCompressed] = packed.index;
  write_safetensors(path, tensors, metadata);
}

Checkpoint load_checkpoint(const std::string& path, CheckpointPart part) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  const auto format = file.metadata().find("format");
  TANDEM_CHECK(
      format != file.metadata().end() && (format->second == kFormat || format->second == kFirstFormat),
      "{}: not a checkpoint of Tandem (metadata \"format\" is neither {} nor {})", path, kFormat,
      kFirstFormat);
  if (format->second == kFormat) file.require_digests();
  Checkpoint checkpoint;
  checkpoint.model_config = field(file, "model");
  checkpoint.run_config = field(file, "run");
  checkpoint.progress = field(file, "progress");
  checkpoint.vocabulary = vocabulary_of(file);
  PackedParameters packed;
  if (file.metadata().contains(kCompressed)) packed.index = file.metadata().at(kCompressed);
  for (const std::string& name : file.names()) {
    if (name == kWords || name == kSubwords) continue;
    const auto take = [&file, &name](const char* prefix, bool wanted, std::vector<NamedTensor>& into) {
      if (!name.starts_with(prefix)) return false;
      if (wanted) into.push_back({name.substr(std::string(prefix).size()), file.get(name)});
      return true;
    };
    const bool all = part == CheckpointPart::all;
    TANDEM_CHECK(take(kModelPrefix, true, packed.tensors) || take(kOptimizer, all, checkpoint.optimizer) ||
                     take(kState, all, checkpoint.state),
                 "{}: tensor {} is neither of the model nor of the optimizer nor of the state", path,
                 printable_start(name));
  }
  try {
    unpack_parameters(checkpoint, packed);
  } catch (const Error& error) {
    detail::fail("{}: {}", path, error.what());
  }
  return checkpoint;
}

}  // namespace tandem
