// check_model() passes a right model, and each of its checks refuses the model that is wrong in what it checks. The models are
// registered while the tests run, after others were looked up.
#include "tandem/testing/check_model.h"

#include <doctest/doctest.h>

#include <numeric>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/models/layered_model.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/models/registry.h"
#include "tandem/models/sru/sru.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/gemm/precision.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

struct DefectiveConfig : Configured<DefectiveConfig> {
  int64_t d = 16;
  double dropout = 0;
  std::string defect = "none";

  std::string model_name() const { return "defective"; }
  void fields(Fields& field) {
    token_fields(field);
    field("d", d);
    field("dropout", dropout);
    field("defect", defect);
  }
};

// An SRU layer with dropout and the defect of this name.
class DefectiveLayer : public Layer {
 public:
  DefectiveLayer(const DefectiveConfig& config, const SruConfig& sru, Random& random)
      : cell_(sru, 0, random), defect_(config.defect), dropout_(config.dropout) {
    add_child("cell", cell_);
    if (defect_ == "unused") unused_ = add_parameter("unused", uniform(random, {3}, 1, config));
    only_multiplies_memory_ = defect_ == "rounded";
  }

  std::vector<std::string> state_names() const override { return {"c", "memory"}; }

  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override {
    Output out =
        cell_.forward(x, defect_ == "forgetful" ? LayerState() : LayerState{part(before, 0)}, options, site);
    double factor = defect_ == "deaf" ? 0 : 1;
    if (defect_ == "counting") factor += 1e-3 * passes_++;
    if (defect_ == "imprecise" && matmul_precision() == MatmulPrecision::bf16) factor = 2;
    if (factor != 1) out.h = scale(out.h, factor);
    // The memory is the last input, which is added to each output.
    if (part(before, 1).defined() && defect_ == "rounded")
      out.h = add(out.h, concat_of(part(before, 1).to(x.dtype()), x.size(0)));
    if (options.training || defect_ == "always_drops")
      out.h = tandem::dropout(out.h, dropout_, {options.seed, options.step, site + 8});
    out.state.push_back(x.detach().view_rows(x.size(0) - 1, x.size(0)).clone());
    return out;
  }

  std::unique_ptr<LayerDecoder> decoder(int64_t batch, const AttentionContext& context) const override {
    auto right = Layer::decoder(batch, context);
    if (defect_ == "rows") return std::make_unique<WrongRows>(std::move(right));
    if (defect_ != "decoder") return right;
    return std::make_unique<WrongDecoder>(std::move(right));
  }
  double forward_flops(int64_t steps, int64_t memory) const override {
    return cell_.forward_flops(steps, memory);
  }

 private:
  struct WrongDecoder : LayerDecoder {
    explicit WrongDecoder(std::unique_ptr<LayerDecoder> right) : right(std::move(right)) {}
    Tensor step(const Tensor& x) override { return scale(right->step(x), 1 + 1e-6); }
    std::unique_ptr<LayerDecoder> right;
  };

  // Keeps the first rows of a batch in place of those that it is told.
  struct WrongRows : LayerDecoder {
    explicit WrongRows(std::unique_ptr<LayerDecoder> right) : right(std::move(right)) {}
    Tensor step(const Tensor& x) override { return right->step(x); }
    void keep(std::span<const int64_t> rows) override {
      std::vector<int64_t> first(rows.size());
      std::iota(first.begin(), first.end(), int64_t{0});
      right->keep(first);
    }
    void append(LayerDecoder& other) override { right->append(*as<WrongRows>(other).right); }
    std::unique_ptr<LayerDecoder> right;
  };

  // Returns `row` (1, B, D) `steps` times.
  static Tensor concat_of(const Tensor& row, int64_t steps) {
    Tensor all({steps, row.size(1), row.size(2)}, row.dtype(), row.device());
    for (int64_t t = 0; t < steps; ++t) copy(all.view_rows(t, t + 1), row);
    return all;
  }

  SruLayer cell_;
  std::string defect_;
  double dropout_;
  Tensor unused_;
  mutable int passes_ = 0;
};

std::unique_ptr<LanguageModel> make_defective(const DefectiveConfig& config, uint64_t seed) {
  Random random(seed);
  SruConfig sru;
  static_cast<TokenConfig&>(sru) = config;
  sru.d = config.d;
  const Initializer rows = [&random, &config](Shape shape) { return uniform(random, shape, 0.3, config); };
  DefectiveConfig told = config;
  if (config.defect == "misreported") told.d += 1;
  return std::make_unique<LayeredModel>(
      config, told.text(), FrameConfig{.input_width = config.d, .output_width = config.d}, rows,
      [&](Layers& layers) { layers.push_back(std::make_unique<DefectiveLayer>(config, sru, random)); });
}

// Returns a configuration with this defect, of a model that is registered at the first call.
std::string config_with(const std::string& defect) {
  static const bool registered = [] {
    CHECK(find_model("defective") == nullptr);
    register_model("defective", make_defective, [] {
      return std::vector<Preset>{{"laptop", DefectiveConfig().text(), {}, ""}};
    });
    return true;
  }();
  CHECK(registered);
  return R"({"model":"defective","d":16,"defect":")" + defect + "\"}";
}

// Returns whether the check passes the right model and refuses this one, by a failure with `words` in it.
template <class Check>
bool refuses(const Check& check, const std::string& defect, const std::string& words) {
  const Report right = check(config_with("none"));
  INFO(right.text());
  CHECK(right.ok());
  CHECK(right.checks() > 0);
  const Report report = check(config_with(defect));
  return !report.ok() && contains(report.text(), words);
}

}  // namespace

TEST_CASE("registry: a model is known from its registration on, also after others were looked up") {
  const RegisteredModel* const before = find_model("sru");
  config_with("none");
  CHECK(find_model("sru") == before);
  CHECK(has_preset("defective", "laptop"));
  CHECK(make_model(R"({"model":"defective","vocabulary":7})", 1)->vocabulary_size() == 7);
}

TEST_CASE("check_model: a right model passes, with a check of everything") {
  const Report report = check_model(config_with("none"));
  INFO(report.text());
  CHECK(report.ok());
  CHECK(report.checks() > 60);
}

TEST_CASE("check_model: each check refuses the defect that it is for") {
  CHECK(refuses(check_model_config, "misreported", "field d"));
  CHECK(refuses(check_model_overfits, "deaf", "learning by heart"));
  CHECK(refuses(check_model_segments, "forgetful", "from those of one pass"));
  CHECK(refuses([](const std::string& config) { return check_model_decoder(config); }, "decoder",
                "the logits of token 0"));
  CHECK(refuses([](const std::string& config) { return check_model_rows(config); }, "rows",
                "from those that it has alone"));
  CHECK(refuses(check_model_recompute, "counting", "recomputation"));
  CHECK(refuses(check_model_state, "forgetful", "carries_state()"));
  CHECK(refuses([](const std::string& config) { return check_model_gradients(config); }, "unused",
                "the gradient of layers.0.unused is zero"));
  const auto resume = [](const std::string& config) { return check_model_resume(config, "adamw"); };
  CHECK(refuses(resume, "counting", "without the stop after 3 steps"));
  std::map<std::string, bool> matters;
  const auto dropout = [&matters](const std::string& config) { return check_model_dropout(config, matters); };
  CHECK(refuses(dropout, "always_drops", "dropout"));
  CHECK(matters.at("defective's dropout"));
}

TEST_CASE("check_model: in bf16 another model and a state that must not be rounded are refused") {
  if (!cpu_has_bf16()) {
    MESSAGE("skipped: this CPU has no bf16");
    return;
  }
  CHECK(refuses([](const std::string& config) { return check_model_bf16(config, {.on_gpu = false}); },
                "imprecise", "in f32"));
  const auto compact = [](const std::string& config) {
    int64_t compacted = 0;
    Report report = check_model_compact_state(config, compacted);
    report.check(compacted >= 0, "counted");
    return report;
  };
  CHECK(refuses(compact, "rounded", "a compacted state changes the losses"));
}

TEST_CASE("check_model: an unknown model and a field that is missing are failures, not crashes") {
  CHECK(contains(check_model(R"({"model":"gpt"})").text(), "gpt is not known"));
  CHECK_FALSE(check_model(R"({"model":"sru","width":3})").ok());
}

}  // namespace tandem::testing
