// Writing of safetensors files, and maps of tensors in both directions.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "tandem/core/atomic_file.h"
#include "tandem/core/check.h"
#include "tandem/core/digest.h"
#include "tandem/core/safetensors.h"
#include "tandem/core/safetensors_format.h"
#include "tandem/core/utf8.h"

namespace tandem {
namespace {

using namespace safetensors;
using nlohmann::json;

// Returns the digests of all tensors with spaces between them; empty if none has one. Error: some have one.
std::optional<std::string> joined_digests(const std::string& path, const std::vector<TensorInfo>& tensors) {
  std::string all;
  for (const TensorInfo& tensor : tensors) {
    TANDEM_CHECK(tensor.digest.empty() == tensors[0].digest.empty(),
                 "cannot write {}: tensor {} has {} digest, the first tensor has {}", path,
                 in_quotes(tensor.name), tensor.digest.empty() ? "no" : "a",
                 tensor.digest.empty() ? "one" : "none");
    TANDEM_CHECK(tensor.digest.empty() || tensor.digest.size() == Digest::kCharacters,
                 "cannot write {}: tensor {}: a digest has {} characters, not {}", path,
                 in_quotes(tensor.name), Digest::kCharacters, tensor.digest.size());
    if (!all.empty()) all += ' ';
    all += tensor.digest;
  }
  if (!tensors.empty() && tensors[0].digest.empty()) return std::nullopt;
  return all;
}

json metadata_with_digests(const std::string& path, const std::vector<TensorInfo>& tensors,
                           const std::map<std::string, std::string>& metadata) {
  json all = metadata.empty() ? json::object() : json(metadata);
  const std::optional<std::string> digests = joined_digests(path, tensors);
  for (const char* key : {kHeaderDigest, kTensorDigests})
    TANDEM_CHECK(!metadata.contains(key), "cannot write {}: the metadata key {} is not free", path, key);
  if (digests) {
    all[kHeaderDigest] = std::string(Digest::kCharacters, '0');
    all[kTensorDigests] = *digests;
  }
  return all;
}

}  // namespace

std::string safetensors_header(const std::string& path, const std::vector<TensorInfo>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  std::set<std::string_view> seen;
  std::string header;
  const auto add = [&path, &header](const std::string& key, const nlohmann::ordered_json& value) {
    header += header.empty() ? '{' : ',';
    try {
      header += json(key).dump() + ":" + value.dump();
    } catch (const json::exception& error) {
      detail::fail("cannot write {}: {}: a name or a metadata text is not UTF-8: {}", path, in_quotes(key),
                   printable_start(error.what()));
    }
  };
  const json all_metadata = metadata_with_digests(path, tensors, metadata);
  if (!all_metadata.empty()) add(kMetadata, all_metadata);
  uint64_t end = 0;
  for (const auto& [name, dtype, shape, digest] : tensors) {
    TANDEM_CHECK(!name.empty() && name != kMetadata, "cannot write {}: a tensor cannot be named {}", path,
                 in_quotes(name));
    TANDEM_CHECK(seen.insert(name).second, "cannot write {}: tensor {} is given twice", path,
                 in_quotes(name));
    const uint64_t begin = end;
    end += static_cast<uint64_t>(shape.numel()) * size_of(dtype);
    add(name, {{"dtype", format_name(dtype)},
               {"shape", std::vector<int64_t>(shape.begin(), shape.end())},
               {"data_offsets", {begin, end}}});
  }
  header += header.empty() ? "{}" : "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');  // so that the data begin aligned
  TANDEM_CHECK(header.size() <= kLongestHeader,
               "cannot write {}: the header would take {} bytes; {} are allowed", path, header.size(),
               kLongestHeader);
  const uint64_t length = header.size();
  std::string start = std::string(reinterpret_cast<const char*>(&length), sizeof length) + header;
  if (const size_t position = header_digest_position(start); position != std::string::npos)
    start.replace(position, Digest::kCharacters, header_digest(start, position));
  return start;
}

void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  for (const auto& [name, tensor] : tensors)
    TANDEM_CHECK(tensor.defined(), "cannot write {}: tensor {} is undefined", path, in_quotes(name));
  NamedTensors ordered = tensors;
  std::ranges::stable_sort(ordered, std::ranges::greater(),
                           [](const auto& item) { return size_of(item.second.dtype()); });
  // The digests are known once the data are written; the header then has the same length and replaces this one.
  const std::string to_come(Digest::kCharacters, '0');
  std::vector<TensorInfo> infos;
  for (const auto& [name, tensor] : ordered) infos.push_back({name, tensor.dtype(), tensor.shape(), to_come});
  const std::string header = safetensors_header(path, infos, metadata);

  AtomicFile file(path);
  file.write(header);
  for (size_t i = 0; i < ordered.size(); ++i) {
    const Tensor host = ordered[i].second.detach().to(Device::cpu());
    file.write(host.raw(), host.nbytes());
    infos[i].digest = digest_of(host.raw(), host.nbytes());
  }
  const std::string final_header = safetensors_header(path, infos, metadata);
  file.write_at(0, final_header.data(), final_header.size());
  file.commit();
}

void save_tensors(const std::string& path, const TensorMap& tensors,
                  const std::map<std::string, std::string>& metadata) {
  write_safetensors(path, NamedTensors(tensors.begin(), tensors.end()), metadata);
}

TensorMap load_tensors(const std::string& path, Device device) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  TensorMap tensors;
  for (const std::string& name : file.names()) tensors.emplace(name, file.get(name).to(device));
  return tensors;
}

}  // namespace tandem
