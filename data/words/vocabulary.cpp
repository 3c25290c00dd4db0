// Chooses and looks up words.
#include "tandem/data/words/vocabulary.h"

#include <algorithm>
#include <utility>

#include "tandem/core/check.h"
#include "tandem/core/utf8.h"

namespace tandem {
namespace {

// Returns the id of the first of two names that the table has, -1 if it has neither.
int32_t either(const WordTable& words, const std::string_view (&names)[2]) {
  const int32_t first = words.find(names[0]);
  return first >= 0 ? first : words.find(names[1]);
}

bool is_one_word(std::string_view text) {
  size_t words = 0, length = 0;
  for_each_word(
      text, [&](std::string_view word) { ++words, length = word.size(); }, [] {});
  return words == 1 && length == text.size();
}

}  // namespace

WordVocabulary::WordVocabulary(std::string_view text) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    TANDEM_CHECK(end != std::string_view::npos, "vocabulary: no newline after the last word, '{}'",
                 printable_start(text));
    const std::string_view word = text.substr(0, end);
    TANDEM_CHECK(is_one_word(word), "vocabulary: '{}', word {}, is empty or has a blank in it",
                 printable_start(word), size());
    const int32_t before = size();
    const int32_t id = words_.add(word);
    TANDEM_CHECK(id == before, "vocabulary: the word '{}' occurs twice, as id {} and again after {} words",
                 printable_start(word), id, before);
    text.remove_prefix(end + 1);
  }
  unknown_ = either(words_, kUnknownWords);
  line_end_ = either(words_, kLineEnds);
  TANDEM_CHECK(unknown_ >= 0, "vocabulary: none of its {} words is {} or {}", size(), kUnknownWords[0],
               kUnknownWords[1]);
  TANDEM_CHECK(line_end_ >= 0, "vocabulary: none of its {} words is {} or {}", size(), kLineEnds[0],
               kLineEnds[1]);
}

std::string_view WordVocabulary::word(int32_t id) const {
  TANDEM_CHECK(id >= 0 && id < size(), "vocabulary: id {} is outside of 0 .. {}", id, size() - 1);
  return words_.word(id);
}

WordCounts::WordCounts(std::initializer_list<std::pair<std::string_view, int64_t>> counts) {
  for (const auto& [word, count] : counts) add(word, count);
}

void WordCounts::add(std::string_view word, int64_t times) {
  const auto number = static_cast<size_t>(words_.add(word));
  if (number == counts_.size()) counts_.push_back(0);
  counts_[number] += times;
}

void WordCounts::add(const WordCounts& more) {
  for (int32_t i = 0; i < more.size(); ++i) add(more.word(i), more.count(i));
}

int64_t WordCounts::count(std::string_view word) const {
  const int32_t number = words_.find(word);
  return number < 0 ? 0 : count(number);
}

std::string choose_words(const WordCounts& counts, const VocabularyLimit& limit, std::string_view line_end) {
  TANDEM_CHECK(
      limit.size == 0 || limit.size >= 3,
      "vocabulary: a size of {} leaves no word; {} and {} are always there, so give at least 3, or 0 for all",
      limit.size, kUnknownWords[0], line_end);
  TANDEM_CHECK(limit.min_count >= 1, "vocabulary: words occur at least {} times; give at least 1",
               limit.min_count);
  using Counted = std::pair<std::string_view, int64_t>;
  Counted unknown(kUnknownWords[0], 0);
  const Counted end(line_end, counts.count(line_end));
  std::vector<Counted> words;
  for (int32_t i = 0; i < counts.size(); ++i) {
    const Counted word(counts.word(i), counts.count(i));
    if (word.first == end.first) continue;
    if (word.first == unknown.first || word.second < limit.min_count)
      unknown.second += word.second;
    else
      words.push_back(word);
  }
  const auto more_frequent = [](const Counted& a, const Counted& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  };
  std::sort(words.begin(), words.end(), more_frequent);
  while (limit.size > 0 && std::ssize(words) > limit.size - 2) {
    unknown.second += words.back().second;
    words.pop_back();
  }
  for (const Counted& always : {unknown, end})
    words.insert(std::upper_bound(words.begin(), words.end(), always, more_frequent), always);

  std::string text;
  for (const Counted& word : words) {
    text += word.first;
    text += '\n';
  }
  return text;
}

size_t detail::wide_blank(std::string_view text) {
  using namespace std::string_view_literals;
  const std::string_view two = text.substr(0, 2), three = text.substr(0, 3);
  if (two == "\xc2\x85" || two == "\xc2\xa0") return 2;              // next line, no-break space
  if (three == "\xe1\x9a\x80" || three == "\xe2\x81\x9f") return 3;  // Ogham, mathematical
  if (three == "\xe3\x80\x80") return 3;                             // ideographic
  if (three.size() < 3 || two != "\xe2\x80"sv) return 0;
  const auto last = static_cast<uint8_t>(three[2]);
  const bool spaces = last >= 0x80 && last <= 0x8a;                       // U+2000 .. U+200A
  return spaces || last == 0xa8 || last == 0xa9 || last == 0xaf ? 3 : 0;  // line, paragraph, narrow no-break
}

}  // namespace tandem
