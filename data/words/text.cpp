// Cuts a text into blocks of whole words, which all threads work on and which are delivered in order.
#include "tandem/data/words/text.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tandem/core/check.h"
#include "tandem/core/parallel.h"

namespace tandem {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 22;
constexpr int kBlocksPerThread = 2;  // at a time: more than one evens out the work

struct Block {
  TextPart part;
  std::string text;         // ends after a blank or at the end of the part
  bool begins_line = true;  // false: begins in the middle of a line
  bool open_line = false;   // the last line of the part, without a newline, ends here
  // Results
  int64_t tokens = 0, marks = 0;
  std::vector<int32_t> ids;
};

// Cuts the text into blocks, calls work(block, thread) for several of them in parallel, and then done(block)
// for each in order.
class Blocks {
 public:
  using Work = std::function<void(Block& block, int thread)>;
  using Done = std::function<void(const Block& block)>;

  Blocks(Work work, Done done, const TextProgress& progress)
      : work_(std::move(work)),
        done_(std::move(done)),
        progress_(progress),
        at_a_time_(static_cast<size_t>(kBlocksPerThread * cpu::max_threads())) {}

  void add(const TextPart& part, std::span<const uint8_t> bytes) {
    if (part != block_.part) end_part();
    block_.part = part;
    block_.text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (block_.text.size() < kBlockBytes) return;
    const std::string_view fresh = std::string_view(block_.text).substr(searched_);
    const size_t found = fresh.find_last_of(" \n");
    if (found == std::string_view::npos) {  // one word so far
      searched_ = block_.text.size();
      TANDEM_CHECK(
          searched_ <= kLongestWord,
          "words: {} bytes without a blank or a newline are no text of words, and at most {} are read; read them "
          "as bytes, or put blanks between the words",
          searched_, kLongestWord);
      return;
    }
    const size_t blank = searched_ + found;
    searched_ = 0;
    Block rest;
    rest.part = part;
    rest.text = block_.text.substr(blank + 1);
    rest.begins_line = block_.text[blank] == '\n';
    block_.text.resize(blank + 1);
    push(std::exchange(block_, std::move(rest)));
  }

  void finish() {
    end_part();
    run();
  }

 private:
  void end_part() {
    Block last = std::exchange(block_, {});
    searched_ = 0;
    last.open_line = last.text.empty() ? !last.begins_line : last.text.back() != '\n';
    if (!last.text.empty() || last.open_line) push(std::move(last));
  }

  void push(Block block) {
    held_ += block.text.size();
    blocks_.push_back(std::move(block));
    if (blocks_.size() == at_a_time_ || held_ >= at_a_time_ * kBlockBytes) run();
  }

  void run() {
    cpu::parallel_for(static_cast<int64_t>(blocks_.size()), true,
                      [this](int64_t i) { work_(blocks_[static_cast<size_t>(i)], cpu::thread_index()); });
    for (const Block& block : blocks_) {
      bytes_ += static_cast<int64_t>(block.text.size());
      done_(block);
    }
    blocks_.clear();
    held_ = 0;
    if (progress_) progress_(bytes_);
  }

  Work work_;
  Done done_;
  const TextProgress& progress_;
  size_t at_a_time_;
  std::vector<Block> blocks_;
  size_t held_ = 0;      // bytes of text in them; those with long words are longer than others
  Block block_;          // the block being read
  size_t searched_ = 0;  // its first bytes, once it is full, that are known to hold no blank
  int64_t bytes_ = 0;
};

// Calls on_word(word) and on_mark() for the tokens of a block. The mark before a line belongs to the block with
// the line's first byte.
template <class OnWord, class OnMark>
void for_each_token(const Block& block, bool marks_begin, OnWord&& on_word, OnMark&& on_mark) {
  std::string_view text = block.text;
  const bool closed = text.ends_with('\n');
  if (marks_begin && block.begins_line && !text.empty()) on_mark();
  if (closed) text.remove_suffix(1);
  for_each_word(text, on_word, [&on_mark, marks_begin] {
    on_mark();
    if (marks_begin) on_mark();
  });
  if (closed || block.open_line) on_mark();
}

void read_blocks(const TextReader& text, Blocks& blocks) {
  text([&blocks](const TextPart& part, std::span<const uint8_t> bytes) { blocks.add(part, bytes); });
  blocks.finish();
}

}  // namespace

TextCounts count_words(const TextReader& text, const LineMarks& marks, const TextProgress& progress) {
  TextCounts result;
  std::vector<WordCounts> counts(static_cast<size_t>(cpu::max_threads()));  // one for each thread
  int64_t train_marks = 0;
  const auto work = [&counts, &marks](Block& block, int thread) {
    WordCounts& words = counts[static_cast<size_t>(thread)];
    const bool train = block.part.split == kTrain;
    const auto on_word = [&block, &words, train](std::string_view word) {
      ++block.tokens;
      if (train) words.add(word);
    };
    for_each_token(block, marks.begin, on_word, [&block] { ++block.marks; });
  };
  const auto done = [&result, &train_marks](const Block& block) {
    result.tokens[block.part] += block.tokens + block.marks;
    if (block.part.split == kTrain) train_marks += block.marks;
  };
  Blocks blocks(work, done, progress);
  read_blocks(text, blocks);

  for (WordCounts& words : counts) {
    result.words.add(words);
    words = {};
  }
  if (train_marks > 0) result.words.add(marks.end, train_marks);
  return result;
}

void encode_words(const TextReader& text, const WordVocabulary& vocabulary, bool marks_begin,
                  const IdSink& sink, const TextProgress& progress) {
  const auto work = [&vocabulary, marks_begin](Block& block, int) {
    for_each_token(
        block, marks_begin,
        [&block, &vocabulary](std::string_view word) { block.ids.push_back(vocabulary.id(word)); },
        [&block, &vocabulary] { block.ids.push_back(vocabulary.line_end()); });
  };
  Blocks blocks(
      work, [&sink](const Block& block) { sink(block.part, block.ids); }, progress);
  read_blocks(text, blocks);
}

}  // namespace tandem
