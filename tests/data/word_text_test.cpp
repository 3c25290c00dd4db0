// Compares counting and encoding with a naive reading, for texts in pieces, in parts, and across the borders of
// blocks.
#include "tandem/data/words/text.h"

#include <doctest/doctest.h>

#include <ctime>
#include <sstream>

#include "tandem/core/random.h"
#include "tests/support/data_files.h"
#include "tests/support/errors.h"
#include "tests/support/threads.h"

namespace tandem::testing {
namespace {

using Parts = std::vector<std::pair<TextPart, std::string>>;

// Gives the parts in pieces of `piece` bytes.
TextReader reader(const Parts& parts, size_t piece) {
  return [&parts, piece](const TextSink& sink) {
    for (const auto& [part, text] : parts)
      for (size_t at = 0; at < text.size(); at += piece)
        sink(part, as_bytes(text).subspan(at).first(std::min(piece, text.size() - at)));
  };
}

// Returns the tokens of a text by the definition.
std::vector<std::string> naive(const std::string& text, const LineMarks& marks) {
  std::vector<std::string> tokens;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (marks.begin) tokens.push_back(marks.end);
    std::istringstream words(line);
    for (std::string word; words >> word;) tokens.push_back(word);
    tokens.push_back(marks.end);
  }
  return tokens;
}

void check(const Parts& parts, const LineMarks& marks, size_t piece) {
  const TextReader text = reader(parts, piece);
  const TextCounts counts = count_words(text, marks);
  WordCounts expected_words;
  std::map<TextPart, int64_t> expected_tokens;
  for (const auto& [part, all] : parts)
    for (const std::string& token : naive(all, marks)) {
      ++expected_tokens[part];
      if (part.split == kTrain) expected_words.add(token);
    }
  CHECK(counts.tokens == expected_tokens);
  CHECK(counts.words.size() == expected_words.size());
  for (int32_t i = 0; i < expected_words.size(); ++i)
    CHECK(counts.words.count(expected_words.word(i)) == expected_words.count(i));

  const WordVocabulary vocabulary(choose_words(expected_words, {.min_count = 2}, marks.end));
  std::map<TextPart, std::vector<int32_t>> ids;
  encode_words(text, vocabulary, marks.begin, [&ids](const TextPart& part, std::span<const int32_t> more) {
    ids[part].insert(ids[part].end(), more.begin(), more.end());
  });
  for (const auto& [part, all] : parts) {
    std::vector<int32_t> expected;
    for (const std::string& token : naive(all, marks)) expected.push_back(vocabulary.id(token));
    CHECK((ids[part] == expected));
  }
}

const LineMarks kSentences{.end = "<S>", .begin = true};

TEST_CASE("word text: small parts, with and without a last newline") {
  for (const char* text :
       {"a", "a\n", "a b\n\n a\n", "\n", "\n\n", " ", "a ", " \n ", "a b c a b <unk> </S>\nx"}) {
    CAPTURE(text);
    for (const LineMarks& marks : {LineMarks(), kSentences}) {
      const Parts parts = {{{kTrain, "1"}, text}, {{kDev, ""}, "a a\nb"}, {{kTrain, "0"}, text}};
      for (const size_t piece : {size_t{1}, size_t{1000}}) check(parts, marks, piece);
    }
  }
}

// 10 MiB of text: several blocks, lines of very different lengths, and no newline in the last 5 MiB.
std::string long_text() {
  Random random(1);
  std::string text;
  while (text.size() < (size_t{10} << 20)) {
    text += std::string(1 + random.below(5), static_cast<char>('a' + random.below(26)));
    const bool newline = text.size() < (size_t{5} << 20) && random.below(20) == 0;
    text += newline ? "\n" : std::string(1 + random.below(2), ' ');
  }
  return text;
}

TEST_CASE("word text: over block borders") {
  const std::string text = long_text();
  const Parts parts = {{{kTrain, "text"}, text}, {{kTest, "text"}, text.substr(0, 100'000)}};
  for (const LineMarks& marks : {LineMarks(), kSentences})
    for (const size_t piece : {size_t{1} << 20, size_t{99'991}}) check(parts, marks, piece);
}

TEST_CASE("word text: a word longer than a block") {
  const std::string word(std::size_t{9} << 20, 'w');
  check({{{kTrain, ""}, "a " + word + " " + word + "\nb\n"}}, LineMarks(), size_t{1} << 20);
}

// Returns the seconds of processor time to count a word of 16 MiB that arrives in pieces.
double seconds_to_count(size_t piece) {
  const Parts parts = {{{kTrain, ""}, std::string(size_t{16} << 20, 'w')}};
  const std::clock_t begin = std::clock();
  CHECK(count_words(reader(parts, piece), {}).words.size() == 2);  // with the end of the line
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

TEST_CASE("word text: a text without blanks is searched once, in however small pieces it arrives") {
  // 256 times as many pieces took 256 times as long when each piece had all bytes before it searched again.
  CHECK(seconds_to_count(size_t{1} << 12) < 1 + 20 * seconds_to_count(size_t{1} << 20));
}

TEST_CASE("word text: a word that is longer than allowed is refused before it fills the memory") {
  const std::string piece(size_t{1} << 20, 'w');
  size_t given = 0;
  const TextReader endless = [&](const TextSink& sink) {
    while (true) {
      sink({}, as_bytes(piece));
      given += piece.size();
    }
  };
  CHECK(contains(error_of([&] { count_words(endless, {}); }),
                 "bytes without a blank or a newline are no text of words"));
  CHECK(given == kLongestWord);
}

TEST_CASE("word text: long words do not make more text wait in memory") {
  const Threads use(3);
  std::string text;
  for (int i = 0; i < 12; ++i) text += std::string(size_t{8} << 20, static_cast<char>('a' + i)) + ' ';
  const Parts parts = {{{kTrain, ""}, text}};
  int64_t last = 0, most = 0;
  count_words(reader(parts, size_t{1} << 20), {}, [&last, &most](int64_t bytes) {
    most = std::max(most, bytes - last);
    last = bytes;
  });
  CHECK(last == static_cast<int64_t>(text.size()));
  CHECK(most < int64_t{6 * 4 + 10} << 20);  // six blocks of 4 MiB, and what the last one is longer
}

TEST_CASE("word text: the same with one thread and with three") {
  const Parts parts = {{{kTrain, "text"}, long_text()}};
  const auto all = [&parts](int threads) {
    const Threads use(threads);
    const TextReader text = reader(parts, size_t{1} << 20);
    const TextCounts counts = count_words(text, {});
    const WordVocabulary vocabulary(choose_words(counts.words, {}));
    std::vector<int32_t> ids;
    encode_words(text, vocabulary, false, [&ids](const TextPart&, std::span<const int32_t> more) {
      ids.insert(ids.end(), more.begin(), more.end());
    });
    return std::pair(vocabulary.text(), ids);
  };
  const auto one = all(1);
  CHECK(one.second.size() > 2'000'000);
  CHECK((one == all(3)));
}

TEST_CASE("word text: progress counts the bytes, and what it throws ends the work") {
  const Parts parts = {{{kTrain, ""}, long_text()}};
  const TextReader text = reader(parts, size_t{1} << 20);
  int64_t last = 0;
  count_words(text, {}, [&last](int64_t bytes) {
    CHECK(bytes >= last);
    last = bytes;
  });
  CHECK(last == static_cast<int64_t>(parts[0].second.size()));
  struct Cancelled {};
  CHECK_THROWS_AS(count_words(text, {}, [](int64_t) { throw Cancelled(); }), Cancelled);
}

}  // namespace
}  // namespace tandem::testing
