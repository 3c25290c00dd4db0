// Names and layout of the SRU++ authors' weights and of ours.
#include "tandem/models/srupp/authors_weights.h"

#include <fmt/format.h>

#include <cstring>
#include <map>
#include <set>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/models/layered_model.h"

namespace tandem {
namespace {

struct NamePair {
  std::string ours, theirs;
  Shape shape;               // the same of both
  bool interleaved = false;  // the rows of the three planes of U are interleaved in theirs
};

std::vector<NamePair> name_pairs(const SruppConfig& config) {
  const int64_t v = config.vocabulary, d = config.d, e = config.d_projected;
  std::vector<NamePair> pairs = {{"embedding.weight", "embedding_layer.weight", {v, d}},
                                 {"output.weight", "output_layer.weight", {v, d}},
                                 {"output.bias", "output_layer.bias", {v}}};
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string ours = fmt::format("layers.{}.", i);
    const std::string theirs = fmt::format("rnn.rnn_lst.{}.", i);
    const std::string transform = theirs + "transform_module.";
    pairs.push_back({ours + "query.weight", transform + "linear1.weight", {e, d}});
    if (config.attends(i)) {
      pairs.push_back({ours + "key_value.weight", transform + "linear2.weight", {2 * e, e}});
      pairs.push_back({ours + "alpha", transform + "alpha", {1}});
    }
    pairs.push_back({ours + "norm.gain", transform + "layer_norm.weight", {e}});
    pairs.push_back({ours + "norm.bias", transform + "layer_norm.bias", {e}});
    const std::string up = config.attends(i) ? "linear3.weight" : "linear2.weight";
    pairs.push_back({ours + "output.weight", transform + up, {3 * d, e}, true});
    pairs.push_back({ours + "scan.weight", theirs + "weight_c", {2 * d}});
    pairs.push_back({ours + "scan.bias", theirs + "bias", {2 * d}});
  }
  return pairs;
}

// Reorders the rows of a (3d, n) matrix: plane m of unit j is row m d + j in ours and row 3j + m in theirs.
Tensor permute_planes(const Tensor& from, bool to_interleaved) {
  const Tensor source = from.to(Device::cpu());
  const int64_t d = source.size(0) / 3;
  Tensor to = empty_like(source);
  const size_t row = static_cast<size_t>(source.size(1)) * size_of(source.dtype());
  const auto* in = static_cast<const std::byte*>(source.raw());
  auto* out = static_cast<std::byte*>(to.raw());
  for (int64_t m = 0; m < 3; ++m)
    for (int64_t j = 0; j < d; ++j) {
      const int64_t planar = m * d + j;
      const int64_t interleaved = 3 * j + m;
      std::memcpy(out + row * static_cast<size_t>(to_interleaved ? interleaved : planar),
                  in + row * static_cast<size_t>(to_interleaved ? planar : interleaved), row);
    }
  return to;
}

// Refuses what the authors' enwik8 model cannot express.
void check_authors_have(const SruppConfig& config) {
  bool attends = false, projects = false;
  for (int64_t i = 0; i < config.layers; ++i) (config.attends(i) ? attends : projects) = true;
  TANDEM_CHECK(
      (config.conv_width == 0 || !attends) && (config.short_conv_width == 0 || !projects),
      "authors' SRU++ weights: conv_width is {} and short_conv_width {}, and the authors' code has no "
      "filters; both must be 0",
      config.conv_width, config.short_conv_width);
  TANDEM_CHECK(
      config.cutoffs.empty(),
      "authors' SRU++ weights: cutoffs are {}, and the authors' model of bytes has one table; there must be none",
      fmt::join(config.cutoffs, ", "));
}

class WeightMap {
 public:
  explicit WeightMap(const std::vector<NamedTensor>& weights) {
    for (const NamedTensor& weight : weights) by_name_[weight.name] = weight.value;
  }
  bool has(const std::string& name) const { return by_name_.count(name) > 0; }
  const Tensor& get(const std::string& name) const {
    const auto found = by_name_.find(name);
    TANDEM_CHECK(found != by_name_.end(), "authors' SRU++ weights: there is no tensor {}", name);
    return found->second;
  }
  // Returns a matrix. Error: another number of axes, or a matrix without elements, whose sizes could be any numbers.
  const Tensor& matrix(const std::string& name) const {
    const Tensor& w = get(name);
    TANDEM_CHECK(w.rank() == 2, "authors' SRU++ weights: {} must have two axes, is {}", name, w.summary());
    TANDEM_CHECK(w.numel() > 0, "authors' SRU++ weights: {} has no elements: {}", name, w.summary());
    return w;
  }
  const std::map<std::string, Tensor>& all() const { return by_name_; }

 private:
  std::map<std::string, Tensor> by_name_;
};

// Sets attention_every or attention_last so that the layers given in `attends` attend. Error: neither can
// say that.
void infer_attention(const std::vector<bool>& attends, SruppConfig& config) {
  const auto matches = [&attends, &config] {
    for (int64_t i = 0; i < config.layers; ++i)
      if (config.attends(i) != attends[static_cast<size_t>(i)]) return false;
    return true;
  };
  config.attention_last = 0;
  for (config.attention_every = 1; config.attention_every <= config.layers; ++config.attention_every)
    if (matches()) return;
  config.attention_every = 0;
  for (config.attention_last = 0; config.attention_last <= config.layers; ++config.attention_last)
    if (matches()) return;
  std::string pattern;
  for (const bool attending : attends) pattern += attending ? 'A' : '-';
  detail::fail("authors' SRU++ weights: attention in layers {} is neither every k layers nor the last n",
               pattern);
}

SruppConfig infer_config(const WeightMap& weights, int64_t heads, DType dtype, Device device) {
  SruppConfig config;
  const Tensor& embedding = weights.matrix("embedding_layer.weight");
  config.vocabulary = embedding.size(0);
  config.d = embedding.size(1);
  config.d_projected = weights.matrix("rnn.rnn_lst.0.transform_module.linear1.weight").size(0);
  config.heads = heads;
  config.dtype = dtype;
  config.device = device;
  std::vector<bool> attends;
  for (config.layers = 0; weights.has(fmt::format("rnn.rnn_lst.{}.weight_c", config.layers)); ++config.layers)
    attends.push_back(weights.has(fmt::format("rnn.rnn_lst.{}.transform_module.alpha", config.layers)));
  TANDEM_CHECK(config.layers > 0, "authors' SRU++ weights: there is no tensor rnn.rnn_lst.0.weight_c");
  check_layer_count("authors' SRU++ weights", config.layers);
  infer_attention(attends, config);
  return config;
}

}  // namespace

bool is_authors_srupp(const std::vector<NamedTensor>& weights) {
  const WeightMap map(weights);
  return map.has("embedding_layer.weight") && map.has("rnn.rnn_lst.0.weight_c");
}

std::unique_ptr<LanguageModel> load_authors_srupp(const std::vector<NamedTensor>& weights, int64_t heads,
                                                  DType dtype, Device device) {
  const WeightMap map(weights);
  const SruppConfig config = infer_config(map, heads, dtype, device);
  std::set<std::string> used;
  for (int64_t i = 0; i < config.layers; ++i)
    used.insert(fmt::format("rnn.rnn_lst.{}.scale_x", i));  // not used by SRU++
  std::vector<NamedTensor> values;
  for (const NamePair& pair : name_pairs(config)) {
    const Tensor& value = map.get(pair.theirs);
    TANDEM_CHECK(value.shape() == pair.shape,
                 "authors' SRU++ weights: {} is {}; with d {}, d' {} it must be {}", pair.theirs,
                 value.summary(), config.d, config.d_projected, pair.shape.str());
    values.push_back({pair.ours, pair.interleaved ? permute_planes(value, false) : value});
    used.insert(pair.theirs);
  }
  for (const auto& [name, value] : map.all())
    TANDEM_CHECK(used.count(name) > 0,
                 "authors' SRU++ weights: tensor {}, {}, belongs to nothing in this model", name,
                 value.summary());
  // Made last: once all shapes fit, the model takes no more memory than the weights.
  std::unique_ptr<LanguageModel> model = make_srupp(config, 0);
  model->load(values);
  return model;
}

std::vector<NamedTensor> to_authors_layout(const std::vector<NamedTensor>& ours, const SruppConfig& config) {
  check_authors_have(config);
  const WeightMap map(ours);
  std::vector<NamedTensor> theirs;
  for (const NamePair& pair : name_pairs(config)) {
    const Tensor& value = map.get(pair.ours);
    theirs.push_back({pair.theirs, pair.interleaved ? permute_planes(value, true) : value});
  }
  return theirs;
}

std::vector<NamedTensor> to_authors_state_dict(const std::vector<NamedTensor>& ours,
                                               const SruppConfig& config) {
  std::vector<NamedTensor> untied = ours;
  if (config.tied) untied.push_back({"output.weight", find_tensor(ours, "embedding.weight")});
  std::vector<NamedTensor> theirs = to_authors_layout(untied, config);
  for (int64_t i = 0; i < config.layers; ++i)
    theirs.push_back({fmt::format("rnn.rnn_lst.{}.scale_x", i), full({1}, 1, DType::f32)});
  return theirs;
}

}  // namespace tandem
