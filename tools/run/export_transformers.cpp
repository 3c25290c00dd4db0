// The files of the folder, and what they cannot hold.
#include "tandem/tools/run/export_transformers.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "tandem/core/atomic_file.h"
#include "tandem/core/check.h"
#include "tandem/core/format.h"
#include "tandem/core/json.h"
#include "tandem/core/safetensors.h"
#include "tandem/core/utf8.h"
#include "tandem/data/download/files.h"
#include "tandem/tools/run/embedded_files.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

// The fields of each kind of model that the Python code knows. A field that is added to a model is refused until the code
// computes what it says, and then belongs here.
const std::set<std::string> kTokenFields = {
    "vocabulary",   "tied",  "cutoffs", "band_width", "band_divisor", "adaptive", "tied_projections",
    "band_dropout", "dtype", "model",   "d",          "layers",       "dropout"};
const std::set<std::string> kSruppFields = {
    "d_projected",  "heads",      "attention_every",  "attention_last", "attention_dropout",
    "highway_bias", "conv_width", "short_conv_width", "alpha",          "initial_rows"};
const std::set<std::string> kSruFields = {"d_embedding", "d_projected", "highway_bias", "rescale"};
const std::set<std::string> kTransformerFields = {"heads",
                                                  "d_head",
                                                  "d_inner",
                                                  "norm",
                                                  "final_norm",
                                                  "positions",
                                                  "shared_position_bias",
                                                  "activation",
                                                  "attention_bias",
                                                  "output_bias",
                                                  "conv_width",
                                                  "shared_qk",
                                                  "attention_dropout",
                                                  "inner_dropout",
                                                  "output_dropout",
                                                  "norm_eps",
                                                  "init_std"};
const std::map<std::string, const std::set<std::string>*> kModels = {{"srupp", &kSruppFields},
                                                                     {"sru", &kSruFields},
                                                                     {"transformer-xl", &kTransformerFields},
                                                                     {"transformer", &kTransformerFields},
                                                                     {"primer", &kTransformerFields},
                                                                     {"primer-ez", &kTransformerFields}};

constexpr const char* kWhat = "the model's configuration";

ordered_json config_of(const LoadedModel& loaded) {
  return ordered_json::parse(loaded.model->config());
}

std::string model_name_of(const LoadedModel& loaded) {
  return json_field<std::string>(parse_json(loaded.model->config(), kWhat), "model", kWhat);
}

void write_json(const fs::path& path, const ordered_json& json) {
  write_file_atomically(path.string(), json.dump(2) + "\n");
}

void write_config(const LoadedModel& loaded, const EvaluationOptions& evaluation, const fs::path& path) {
  const AttentionContext context = evaluation.context();
  ordered_json json;
  json["model_type"] = "tandem";
  json["architectures"] = ordered_json::array({"TandemForCausalLM"});
  json["auto_map"] = {{"AutoConfig", "configuration_tandem.TandemConfig"},
                      {"AutoModelForCausalLM", "modeling_tandem.TandemForCausalLM"}};
  json["tandem"] = config_of(loaded);
  json["window"] = evaluation.window;
  json["memory"] = context.memory;
  json["clamp"] = context.clamp;
  json["bos_token_id"] =
      std::max(loaded.vocabulary.line_end(), 0);  // with which a text begins without a prompt
  write_json(path, json);
}

void write_weights(const LoadedModel& loaded, const fs::path& path) {
  NamedTensors tensors;
  for (const NamedTensor& parameter : loaded.model->parameters())
    tensors.emplace_back(parameter.name, parameter.value.to(Device::cpu()));
  write_safetensors(path.string(), tensors, {{"format", "pt"}});  // transformers asks for this format
}

// Returns a symbol a line: a byte as two hex digits, a word as it is.
std::string vocabulary_text(const Vocabulary& vocabulary) {
  if (vocabulary.level() == TokenUnit::word) return vocabulary.words().text();
  std::string text;
  for (int32_t id = 0; id < vocabulary.size(); ++id) text += fmt::format("{:02x}\n", vocabulary.byte(id));
  return text;
}

constexpr const char* kCard = R"(---
library_name: transformers
pipeline_tag: text-generation
---

# A language model of {tokens} that Tandem trained

| | |
|---|---|
| model | `{model}`, {parameters} parameters in f32; `config.json` has all of its fields |
| source | `{file}`: {kind} |
| sha256 of the source | `{sha256}` |
| trained on | {text} |
| vocabulary | {symbols} {tokens}, in the order of their ids in `vocab.txt` |
| context | state carried through the whole text; attention to a memory of {memory} tokens |

The Python files here compute the model in PyTorch alone, and `transformers` loads them:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # where this file lies
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
```

A score, in nats a token; every token but the first is scored. {unit_text}

```python
import torch

ids = tokenizer(text, return_tensors="pt").input_ids
with torch.no_grad():
    log_p = model(ids).logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None])
print(-log_p.mean().item())
```

A long text may be read in pieces: `out = model(ids)`, then `model(more_ids, state=out.state)`. The log-probabilities are those
that Tandem's `evaluate` scores with, within 1e-5. To continue a text:

```python
ids = tokenizer("A prompt", return_tensors="pt").input_ids
print(tokenizer.decode(model.generate(ids, max_new_tokens=100, do_sample=True)[0]))
```

Texts of one call have one length, since there is no padding. The recurrence is a loop over time: it is exact and slow.
)";

std::string card_text(const LoadedModel& loaded, const EvaluationOptions& evaluation,
                      const std::string& checkpoint) {
  const bool bytes = loaded.vocabulary.level() == TokenUnit::byte;
  const fs::path path(checkpoint);
  const std::string text =
      loaded.run
          ? fmt::format("`{}`, sha256 `{}`", escaped_utf8(fs::path(loaded.run->corpus).filename().string()),
                        loaded.run->corpus_sha256)
          : "the file does not say";
  return fmt::format(fmt::runtime(kCard), fmt::arg("tokens", bytes ? "bytes" : "words"),
                     fmt::arg("model", model_name_of(loaded)),
                     fmt::arg("parameters", with_commas(loaded.model->parameter_count())),
                     fmt::arg("file", escaped_utf8(path.filename().string())), fmt::arg("kind", loaded.kind),
                     fmt::arg("sha256", file_checksum("sha256", path)), fmt::arg("text", text),
                     fmt::arg("symbols", with_commas(loaded.vocabulary.size())),
                     fmt::arg("memory", evaluation.context().memory),
                     fmt::arg("unit_text", bytes ? "Bits per character are that divided by ln 2."
                                                 : "The perplexity is e to that."));
}

void check_transformers_have(const LoadedModel& loaded, const EvaluationOptions& evaluation) {
  TANDEM_CHECK(
      loaded.vocabulary.level() != TokenUnit::subword,
      "export: the vocabulary has {} subwords; the tokenizer for transformers knows bytes and words alone",
      loaded.vocabulary.size());
  const nlohmann::json config = parse_json(loaded.model->config(), kWhat);
  const std::string model = model_name_of(loaded);
  const auto known = kModels.find(model);
  if (known == kModels.end()) {
    std::vector<std::string> names;
    for (const auto& [name, fields] : kModels) names.push_back(name);
    detail::fail("export: the model is {}; the files for transformers compute {} alone", model,
                 fmt::join(names, ", "));
  }
  for (const auto& [field, value] : config.items())
    TANDEM_CHECK(kTokenFields.contains(field) || known->second->contains(field),
                 "export: {} is {}, and the files for transformers know no such field of {}", field,
                 value.dump(), model);
  if (known->second != &kTransformerFields) return;
  const std::string positions = json_field<std::string>(config, "positions", kWhat);
  TANDEM_CHECK(positions == "relative",
               "export: positions are \"{}\"; the files for transformers compute \"relative\" ones alone",
               positions);
  TANDEM_CHECK(
      evaluation.context().memory > 0,
      "export: the memory is {} tokens, and a token attends to itself as one of them; give --memory=1 or more",
      evaluation.context().memory);
}

void write_files(const LoadedModel& loaded, const EvaluationOptions& evaluation,
                 const std::string& checkpoint, const fs::path& folder) {
  for (const EmbeddedFile& file : embedded_files())
    if (const fs::path name = file.name; name.parent_path() == "transformers")
      write_file_atomically((folder / name.filename()).string(), file.text);
  const bool bytes = loaded.vocabulary.level() == TokenUnit::byte;
  write_file_atomically((folder / "vocab.txt").string(), vocabulary_text(loaded.vocabulary));
  write_json(folder / "tokenizer_config.json",
             {{"tokenizer_class", "TandemTokenizer"},
              {"auto_map", {{"AutoTokenizer", {"tokenization_tandem.TandemTokenizer", nullptr}}}},
              {"unit", bytes ? "byte" : "word"}});
  write_file_atomically((folder / "README.md").string(), card_text(loaded, evaluation, checkpoint));
  write_weights(loaded, folder / "model.safetensors");
  write_config(loaded, evaluation, folder / "config.json");  // last: without it the folder is no model
}

}  // namespace

void export_to_transformers(const LoadedModel& loaded, const EvaluationOptions& evaluation,
                            const std::string& checkpoint, const fs::path& folder) {
  check_transformers_have(loaded, evaluation);
  std::error_code error;
  const bool made = fs::create_directories(folder, error);
  TANDEM_CHECK(!error, "{}: cannot be made: {}", folder.string(), error.message());
  try {
    write_files(loaded, evaluation, checkpoint, folder);
  } catch (...) {  // half a folder would stand in the way of the next try
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored))
      fs::remove(entry.path(), ignored);
    if (made) fs::remove(folder, ignored);
    throw;
  }
}

}  // namespace tandem
