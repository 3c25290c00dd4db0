// Small configurations of every model, at least one a name in the registry: what is left out has its default.
#pragma once
#include <cstdint>
#include <string>

namespace tandem::testing {

constexpr int64_t kSmallVocabulary = 11;  // that they are meant for

inline const std::string kSmallModels[] = {
    R"({"model":"srupp","d":24,"d_projected":8,"layers":3})",
    R"({"model":"srupp","d":24,"d_projected":8,"layers":3,"heads":2,"attention_every":2})",
    R"({"model":"srupp","d":24,"d_projected":8,"layers":3,"attention_every":0,"attention_last":1})",
    R"({"model":"srupp","d":24,"d_projected":8,"layers":2,"attention_every":0})",
    R"({"model":"srupp","d":24,"d_projected":8,"layers":2,"conv_width":3})",
    R"({"model":"sru","d":16,"d_embedding":12,"d_projected":6,"layers":2,"highway_bias":-1})",
    R"({"model":"sru","d":16,"layers":2,"highway_bias":-1})",
    R"({"model":"lstm","d":32,"layers":2})",
    R"({"model":"lstm","d":48,"d_embedding":40,"layers":2,"tied":true,"variational":true})",
    R"({"model":"qrnn","d":16,"layers":2})",
    R"({"model":"qrnn","d":16,"d_embedding":12,"layers":2,"tied":true,"first_window":1,"window":2,
        "pooling":"ifo","variational":true})",
    R"({"model":"qrnn","d":16,"layers":2,"window":2,"pooling":"f"})",
    R"({"model":"sha-rnn","d":12,"d_boom":30,"layers":3})",
    R"({"model":"sha-rnn","d":12,"d_boom":24,"layers":2,"attention_blocks":2,"tied":false,
        "collapsed_value_gate":true})",
    R"({"model":"shaq","d":12,"d_boom":24,"layers":2})",
    R"({"model":"shaq","d":12,"d_boom":24,"layers":2,"window":1,"attention_blocks":0})",
    R"({"model":"transformer","layers":2,"d":16,"heads":2,"d_head":8,"d_inner":24})",
    R"({"model":"transformer","layers":1,"d":16,"heads":2,"d_head":6,"d_inner":24,"conv_width":2})",
    R"({"model":"transformer-xl","layers":2,"d":16,"heads":2,"d_head":8,"d_inner":24})",
    R"({"model":"transformer-xl","layers":2,"d":16,"heads":1,"d_head":12,"d_inner":24,"norm":"before",
        "shared_position_bias":false,"attention_bias":true,"activation":"gelu"})",
    R"({"model":"primer-ez","layers":2,"d":16,"heads":2,"d_head":8,"d_inner":24})",
    R"({"model":"primer","layers":2,"d":16,"heads":2,"d_head":8,"d_inner":24})",
    R"({"model":"primer","layers":1,"d":16,"heads":2,"d_head":8,"d_inner":24,"attention_bias":true})",
    R"({"model":"evolved-transformer","blocks":1,"d":16,"heads":2})",
    R"({"model":"evolved-transformer","blocks":1,"d":16,"heads":2,"inner_norm":true})",
    R"({"model":"stack","layers":"srupp,attention,lstm,feed-forward,qrnn,srupp-projected,sru","d":12,"d_projected":6,
        "heads":2,"d_inner":16})",
    // Adaptive input and output.
    R"({"model":"srupp","d":24,"d_projected":8,"layers":2,"cutoffs":[3,7],"band_width":12,"band_divisor":2,"tied":true,
        "tied_projections":"all"})",
    R"({"model":"srupp","d":24,"d_projected":8,"layers":2,"cutoffs":[4],"band_width":16,"band_divisor":4})",
    R"({"model":"transformer-xl","layers":2,"d":16,"heads":2,"d_head":8,"d_inner":24,"cutoffs":[3,7]})",
    R"({"model":"transformer-xl","layers":2,"d":16,"heads":2,"d_head":8,"d_inner":24,"cutoffs":[3,7],"band_divisor":2,
        "tied_projections":"tails"})",
    R"({"model":"transformer","layers":1,"d":16,"heads":2,"d_head":8,"d_inner":24,"cutoffs":[5],"band_divisor":4,
        "tied":true,"tied_projections":"tails","adaptive":"baevski"})",
    R"({"model":"lstm","d":40,"layers":1,"cutoffs":[2,6],"band_divisor":2,"adaptive":"pytorch"})",
};

}  // namespace tandem::testing
