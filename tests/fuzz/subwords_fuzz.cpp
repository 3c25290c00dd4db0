// Subwords: any bytes are a model or an Error; one that was read can be written again, and has a text for every id. And any
// bytes at all are encoded and decoded as they were, by a model that was learnt and by the one that was read.
#include <optional>

#include "support.h"
#include "tandem/data/subwords/learn.h"
#include "tandem/data/subwords/pieces.h"
#include "tandem/data/subwords/units.h"
#include "tandem/data/vocabulary.h"

namespace tandem::fuzz {
namespace {

constexpr std::string_view kText = "the tape reads the tensor, the tensor reads the größe   and the scan\n";

void check_round_trip(const Vocabulary& vocabulary, std::string_view text) {
  const std::vector<int32_t> ids = vocabulary.encode(text);
  require(vocabulary.decode(ids) == text, "what is encoded is decoded byte for byte");
  require(ids.size() <= text.size(), "every id stands for a byte at least");
}

void check_model(std::string_view model, std::string_view text) {
  std::optional<Vocabulary> vocabulary;
  if (!accepts([&] { vocabulary = Vocabulary::of_subwords(model); })) return;
  require(vocabulary->stored() == model, "a model comes back");
  require(model_of_pieces(pieces_of_model(model)) == model, "a model is what its pieces say");
  for (int32_t id = 0; id < vocabulary->size(); ++id)
    require(!vocabulary->piece(id, -1).empty(), "every id has a text");
  check_round_trip(*vocabulary, text);
}

// Reads the input as pieces, one a line.
void check_pieces(std::string_view text) {
  std::vector<std::string> pieces;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    pieces.emplace_back(line);
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
  }
  std::string model;
  if (!accepts([&] { model = model_of_pieces(pieces); })) return;
  require(pieces_of_model(model) == pieces, "pieces come back");
  check_model(model, text);
}

}  // namespace
}  // namespace tandem::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  using namespace tandem::fuzz;
  static const Vocabulary learnt = Vocabulary::of_subwords(learn_subwords(count_units(kText), 290, "text"));
  const std::string_view text = text_of(data, size);
  check_round_trip(learnt, text);
  check_model(text, kText);
  check_pieces(text);
  return 0;
}
