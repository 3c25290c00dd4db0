// First a description of the tensors as JSON, then their elements.
#include "tandem/models/training/tensor_exchange.h"

#include <nlohmann/json.hpp>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/json.h"
#include "tandem/core/shard_tree.h"

namespace tandem {
namespace {

std::string description_of(const std::vector<NamedTensor>& tensors) {
  nlohmann::json all = nlohmann::json::array();
  for (const auto& [name, value] : tensors) {
    std::vector<int64_t> sizes;
    for (int axis = 0; axis < value.shape().rank(); ++axis) sizes.push_back(value.shape()[axis]);
    all.push_back({name, static_cast<int>(value.dtype()), sizes});
  }
  return all.dump();
}

// Returns tensors of this description, whose elements are yet to come.
std::vector<NamedTensor> tensors_of(const std::string& description) {
  std::vector<NamedTensor> tensors;
  for (const nlohmann::json& one :
       parse_json(description, "the description of tensors that another rank sent")) {
    const auto sizes = one[2].get<std::vector<int64_t>>();
    tensors.push_back(
        {one[0].get<std::string>(), Tensor(Shape(std::span(sizes)), static_cast<DType>(one[1].get<int>()))});
  }
  return tensors;
}

std::vector<NamedTensor> on_cpu(const std::vector<NamedTensor>& tensors) {
  std::vector<NamedTensor> all;
  for (const auto& [name, value] : tensors) all.push_back({name, value.to(Device::cpu())});
  return all;
}

void add_messages(std::vector<Ranks::Message>& messages, int rank, const std::vector<NamedTensor>& tensors) {
  for (const NamedTensor& tensor : tensors)
    if (tensor.value.numel() > 0) messages.push_back({rank, tensor.value.raw(), tensor.value.nbytes()});
}

}  // namespace

std::vector<NamedTensor> gather_tensors(Ranks& ranks, const std::vector<NamedTensor>& own) {
  std::vector<NamedTensor> all = on_cpu(own);
  if (ranks.size() == 1) return all;
  const std::vector<std::string> descriptions = ranks.gather(description_of(all));
  std::vector<Ranks::Message> sends, receives;
  if (!ranks.leads()) {
    add_messages(sends, 0, all);
  } else {
    for (int r = 1; r < ranks.size(); ++r) {
      const std::vector<NamedTensor> tensors = tensors_of(descriptions[static_cast<size_t>(r)]);
      add_messages(receives, r, tensors);
      all.insert(all.end(), tensors.begin(), tensors.end());
    }
  }
  ranks.exchange(sends, receives);
  return all;
}

std::vector<NamedTensor> broadcast_tensors(Ranks& ranks, const std::vector<NamedTensor>& tensors) {
  const std::string description = ranks.broadcast(ranks.leads() ? description_of(tensors) : "");
  const std::vector<NamedTensor> all = ranks.leads() ? on_cpu(tensors) : tensors_of(description);
  for (const NamedTensor& tensor : all) ranks.broadcast(tensor.value.raw(), tensor.value.nbytes());
  return all;
}

Checkpoint broadcast_checkpoint(Ranks& ranks, Checkpoint checkpoint) {
  if (ranks.size() == 1) return checkpoint;
  TANDEM_CHECK(checkpoint.quantized.empty(),
               "resume: the checkpoint's weights are quantized, and cannot be trained on");
  Checkpoint copy;
  copy.model_config = ranks.broadcast(checkpoint.model_config);
  copy.run_config = ranks.broadcast(checkpoint.run_config);
  copy.progress = ranks.broadcast(checkpoint.progress);
  const std::string level = ranks.broadcast(name_of(checkpoint.vocabulary.level()));
  copy.vocabulary =
      Vocabulary::from_stored(token_unit_named(level), ranks.broadcast(checkpoint.vocabulary.stored()));
  copy.parameters = broadcast_tensors(ranks, checkpoint.parameters);
  copy.optimizer = broadcast_tensors(ranks, checkpoint.optimizer);
  copy.state = broadcast_tensors(ranks, checkpoint.state);
  copy.masks = broadcast_tensors(ranks, checkpoint.masks);
  return copy;
}

void share_ranges(std::span<const Tensor> tensors, const std::function<IndexRange(size_t, int)>& own,
                  const Ranks& ranks, Transport& transport) {
  std::vector<Ranks::Message> sends, receives;
  std::vector<Tensor> kept;  // memory of the messages, on the transport's device
  std::vector<std::pair<Tensor, Tensor>>
      copied_back;  // where received elements belong, and where they arrive
  for (size_t i = 0; i < tensors.size(); ++i)
    for (int r = 0; r < ranks.size(); ++r) {
      const IndexRange range = own(i, r);
      if (range.size() == 0) continue;
      const Tensor part = part_of_tensor(tensors[i], range);
      const bool is_there = part.device() == transport.device(), is_own = r == ranks.rank();
      Tensor memory = part;
      if (!is_there)
        memory =
            is_own ? part.to(transport.device()) : Tensor(part.shape(), part.dtype(), transport.device());
      kept.push_back(memory);
      if (!is_own) {
        receives.push_back({r, memory.raw(), memory.nbytes()});
        if (!is_there) copied_back.emplace_back(part, memory);
        continue;
      }
      for (int other = 0; other < ranks.size(); ++other)
        if (other != r) sends.push_back({other, memory.raw(), memory.nbytes()});
    }
  transport.exchange(sends, receives);
  transport.await();
  for (const auto& [to, from] : copied_back) copy(to, from);
}

void add_shard_messages(const Ranks& ranks, std::span<double> values, std::vector<Ranks::Message>& sends,
                        std::vector<Ranks::Message>& receives) {
  const auto message = [&ranks, values](int rank, int of_rank) {
    const IndexRange range = part_of(static_cast<int64_t>(values.size()), ranks.size(), of_rank);
    return Ranks::Message{rank, values.data() + range.first,
                          static_cast<size_t>(range.size()) * sizeof(double)};
  };
  for (int r = 0; r < ranks.size(); ++r) {
    if (r == ranks.rank()) continue;
    sends.push_back(message(r, ranks.rank()));
    receives.push_back(message(r, r));
  }
}

}  // namespace tandem
