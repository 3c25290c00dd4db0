// Reading and writing the SRU++ authors' weights: a PyTorch state_dict of their enwik8 model, as named tensors.
#pragma once
#include <memory>

#include "tandem/models/language_model.h"
#include "tandem/models/srupp/srupp.h"

namespace tandem {

// Returns whether the names are those of the authors' model (embedding_layer.weight,
// rnn.rnn_lst.0.weight_c, ...).
bool is_authors_srupp(const std::vector<NamedTensor>& weights);

// Builds a model from the authors' weights. Sizes are inferred from shapes; a layer without `alpha` is a
// projected layer. Their W_o has the planes of U interleaved by unit (rows 3j, 3j+1, 3j+2 are candidate,
// forget and reset of unit j), ours has one plane after the other. Error naming the tensor: one is missing,
// left over, or of a shape that does not fit the others.
std::unique_ptr<LanguageModel> load_authors_srupp(const std::vector<NamedTensor>& weights, int64_t heads = 1,
                                                  DType dtype = DType::f32, Device device = Device::cpu());

// Converts values or gradients of our parameters to the authors' names and layout. Error naming the field and its value: the
// configuration has what their enwik8 model has not, filters or clusters of words.
std::vector<NamedTensor> to_authors_layout(const std::vector<NamedTensor>& ours, const SruppConfig& config);

// Returns the whole state_dict of the authors' model, from the values of our parameters: to_authors_layout() with the scale
// of the skip, 1, which their layers hold and do not use, and with tied output rows written out. Error: as above.
std::vector<NamedTensor> to_authors_state_dict(const std::vector<NamedTensor>& ours,
                                               const SruppConfig& config);

}  // namespace tandem
