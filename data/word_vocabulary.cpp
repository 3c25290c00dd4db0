// Choosing and looking up of words.
#include "data/word_vocabulary.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace tandem {
namespace {

// The id of the first of two names that there is, -1 where there is neither.
int32_t either(const std::unordered_map<std::string_view, int32_t>& ids, const std::string_view (&names)[2]) {
  for (const std::string_view name : names)
    if (const auto found = ids.find(name); found != ids.end()) return found->second;
  return -1;
}

}  // namespace

WordVocabulary::WordVocabulary(std::string text) : text_(std::move(text)) {
  CHECK(text_.empty() || text_.back() == '\n', "vocabulary: no newline behind the last word");
  words_.reserve(static_cast<size_t>(std::count(text_.begin(), text_.end(), '\n')));
  ids_.reserve(words_.capacity());
  const std::string_view all = text_;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = all.find('\n', begin);
    const std::string_view word = all.substr(begin, end - begin);
    size_t parts = 0, length = 0;
    for_each_word(
        word, [&](std::string_view part) { ++parts, length = part.size(); }, [] {});
    CHECK(parts == 1 && length == word.size(), "vocabulary: '{}', word {}, is empty or has a blank in it",
          word, words_.size());
    const auto [place, is_new] = ids_.emplace(word, size());
    CHECK(is_new, "vocabulary: the word '{}' stands twice, as ids {} and {}", word, place->second, size());
    words_.push_back(word);
    begin = end + 1;
  }
  unknown_ = either(ids_, kUnknownWords);
  line_end_ = either(ids_, kLineEnds);
  CHECK(unknown_ >= 0, "vocabulary: none of its {} words is {} or {}", size(), kUnknownWords[0],
        kUnknownWords[1]);
  CHECK(line_end_ >= 0, "vocabulary: none of its {} words is {} or {}", size(), kLineEnds[0], kLineEnds[1]);
}

int32_t WordVocabulary::id(std::string_view word) const {
  const auto found = ids_.find(word);
  return found == ids_.end() ? unknown_ : found->second;
}

std::string_view WordVocabulary::word(int32_t id) const {
  CHECK(id >= 0 && id < size(), "vocabulary: id {} is outside of 0 .. {}", id, size() - 1);
  return words_[static_cast<size_t>(id)];
}

std::string choose_words(WordCounts counts, const WordChoice& choice, std::string_view line_end) {
  CHECK(
      choice.size == 0 || choice.size >= 3,
      "vocabulary: a size of {} leaves no word; {} and {} are always there, so give at least 3, or 0 for all",
      choice.size, kUnknownWords[0], line_end);
  CHECK(choice.min_count >= 1, "vocabulary: words occur at least {} times; give at least 1",
        choice.min_count);
  using Counted = std::pair<std::string, int64_t>;
  const auto take = [&counts](std::string_view word) {
    const auto found = counts.find(word);
    const Counted taken(word, found == counts.end() ? 0 : found->second);
    if (found != counts.end()) counts.erase(found);
    return taken;
  };
  Counted unknown = take(kUnknownWords[0]);
  const Counted end = take(line_end);

  std::vector<Counted> words;
  words.reserve(counts.size() + 2);
  while (!counts.empty()) {
    auto word = counts.extract(counts.begin());
    if (word.mapped() >= choice.min_count)
      words.emplace_back(std::move(word.key()), word.mapped());
    else
      unknown.second += word.mapped();
  }
  const auto more_frequent = [](const Counted& a, const Counted& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  };
  std::sort(words.begin(), words.end(), more_frequent);
  while (choice.size > 0 && static_cast<int64_t>(words.size()) > choice.size - 2) {
    unknown.second += words.back().second;
    words.pop_back();
  }
  for (const Counted& always : {unknown, end})
    words.insert(std::upper_bound(words.begin(), words.end(), always, more_frequent), always);

  std::string text;
  for (const Counted& word : words) text += word.first + '\n';
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
