// Compares the table of words with std::map, through many sizes.
#include "tandem/data/words/table.h"

#include <doctest/doctest.h>

#include <map>

#include "tandem/core/random.h"

namespace tandem::testing {
namespace {

TEST_CASE("word table: words are numbered as they come") {
  WordTable table;
  CHECK(table.size() == 0);
  CHECK(table.find("a") == -1);
  CHECK(table.add("a") == 0);
  CHECK(table.add("") == 1);
  CHECK(table.add("bc") == 2);
  CHECK(table.add("a") == 0);
  CHECK(table.add("") == 1);
  CHECK(table.size() == 3);
  CHECK(table.find("bc") == 2);
  CHECK(table.find("b") == -1);
  CHECK(table.find("c") == -1);
  CHECK(table.word(0) == "a");
  CHECK(table.word(1) == "");
  CHECK(table.word(2) == "bc");
  CHECK(table.text() == "a\n\nbc\n");
}

TEST_CASE("word table: 100,000 words") {
  WordTable table;
  std::map<std::string, int32_t> expected;
  Random random(1);
  for (int i = 0; i < 300'000; ++i) {
    const std::string word = std::to_string(random.below(100'000));
    const auto number = expected.emplace(word, static_cast<int32_t>(expected.size())).first->second;
    if (table.add(word) != number) FAIL("word " << word);
  }
  CHECK(table.size() == static_cast<int32_t>(expected.size()));
  int64_t wrong = 0;
  for (const auto& [word, number] : expected)
    wrong += table.find(word) != number || table.word(number) != word;
  for (int i = 100'000; i < 110'000; ++i) wrong += table.find(std::to_string(i)) != -1;
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace tandem::testing
