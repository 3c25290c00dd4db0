// The page of explore: what a model does with a text, as one HTML file that needs neither a server nor a network.
#pragma once
#include <string>

#include "tandem/data/vocabulary.h"
#include "tandem/models/training/exploration.h"

namespace tandem {

struct ExplorePage {
  std::string title;
  std::string facts;    // a sentence or two about the model and the text, shown above it
  int64_t units = 256;  // number of units that are kept of each series, the first ones
};

// Returns the page. Weights of attention are kept as bytes, to 1/510 of the largest of their query and head; gates and
// states as bytes, to 1/510 of the range of their series; probabilities with three digits; losses as they are.
// Error: a page of more than 256 MiB, which browsers would not show.
std::string explore_page(const Exploration& exploration, const Vocabulary& vocabulary,
                         const ExplorePage& page);

}  // namespace tandem
