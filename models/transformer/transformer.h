// Transformers: stacks of self-attention and feed-forward sub-layers. One configuration serves four models,
// whose names stand for different defaults; their options may be mixed.
//
//   transformer      Baevski and Auli (ICLR 2019, arXiv 1809.10853), after fairseq's code: norm before each
//                    sub-layer and none at the end, absolute sinusoidal positions, no memory, biases in the
//                    projections, Xavier-uniform weights. The frequencies of the sinusoids are Vaswani's.
//   transformer-xl   Dai et al. (ACL 2019, arXiv 1901.02860), after the authors' PyTorch code: norm after each
//                    sub-layer, relative positions with one (u, v) for all layers, memory, output tied with a
//                    bias of its own, weights N(0, 0.02^2).
//   primer-ez        So et al. (NeurIPS 2021, arXiv 2109.08668): norm before each sub-layer and at the end,
//                    squared ReLU, filters of three taps after queries, keys and values.
//   primer           the same with shared queries and keys, and the norm of the feed-forward part inside its
//                    residual. The authors' norm, (x - mean) / sqrt(mean(x (x - mean)) + eps), is ordinary
//                    layer norm in exact arithmetic, which it is here. Ours in both: Transformer-XL's
//                    positions, memory and initial weights where the authors have T5's relative bias.
#pragma once
#include "tandem/models/layers/token_layers.h"

namespace tandem {

struct TransformerConfig : Configured<TransformerConfig> {
  // Returns the defaults of a model; empty: of transformer-xl. Error: it is none of the four.
  static TransformerConfig of(const std::string& model);

  std::string model = "transformer-xl";
  int64_t layers = 12, d = 512, heads = 8, d_head = 64, d_inner = 2048;
  std::string norm = "after";  // or "before", "primer"
  bool final_norm = false;
  std::string positions = "relative";  // or "absolute"
  bool shared_position_bias = true;    // one (u, v) for all layers; false: one per layer
  std::string activation = "relu";     // or "squared_relu", "gelu", "silu"
  bool attention_bias = false, output_bias = true;
  int64_t conv_width = 0;  // conv_width, shared_qk: see models/layers/self_attention.h
  bool shared_qk = false;
  double dropout = 0;  // of embedding, positions and each sub-layer's result
  double attention_dropout = 0;
  double inner_dropout = 0;   // between the two matrices of the feed-forward part
  double output_dropout = 0;  // before the output
  double norm_eps = 1e-5;
  double init_std = 0.02;  // see models/layers/initial_values.h

  // The d/2 frequencies of the sinusoids, as a checkpoint of the authors has them; empty: their formula. Not
  // part of the text.
  std::vector<float> frequencies;

  std::string model_name() const { return model; }
  void fields(Fields& field);
};

// Error: sizes that are not positive, dropout outside [0, 1), an unknown word.
std::unique_ptr<LanguageModel> make_transformer(const TransformerConfig& config, uint64_t seed);

}  // namespace tandem
