// The text of a completion as it grows, token by token: what may be sent of it, and where it ends.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tandem/data/vocabulary.h"

namespace tandem {

// A token as the model gave it.
struct TokenScore {
  int32_t id = 0;
  std::optional<double> logprob =
      {};  // natural logarithm of its probability; none: it was not asked for, or nothing
           // comes before the token
  std::vector<std::pair<int32_t, double>> top = {};  // the most probable tokens in its place, with theirs
};

// The same token for an answer.
struct TokenText {
  std::string
      text;  // UTF-8; a token that is none by itself is "bytes:\xHH", one \xHH a byte, as OpenAI writes it
  int64_t offset = -1;  // of its first character in the text, in characters
  std::optional<double> logprob;
  std::vector<std::pair<std::string, double>> top;
};

// Tokens may be single bytes, so the text is a sequence of bytes, which become UTF-8 as they are taken. Held back are the
// bytes of a character that is not complete, and those that may be the beginning of a stop text.
class CompletionText {
 public:
  // `before` is the last token before the text, -1 if there is none; `offset` its length in characters. Without
  // `with_tokens` take() gives the text alone.
  CompletionText(const Vocabulary& vocabulary, std::vector<std::string> stop, int32_t before, int64_t offset,
                 bool with_tokens)
      : vocabulary_(vocabulary),
        stop_(std::move(stop)),
        with_tokens_(with_tokens),
        before_(before),
        characters_(offset) {}

  // Adds a token of the prompt, in which stop texts are not looked for.
  void add_prompt(const TokenScore& token);
  // Adds a token. Returns false if the text is complete: a stop text has come, which is cut off with all behind it.
  bool add(const TokenScore& token);
  bool stopped() const { return stopped_; }

  struct Part {
    std::string text;  // UTF-8: U+FFFD stands for bytes that are none (core/utf8.h)
    std::vector<TokenText> tokens;
  };
  // Returns what was added and may be sent, with the tokens that end in it, and drops it. With `all` nothing is held back,
  // as at the end of the text.
  Part take(bool all);

 private:
  struct Held {
    TokenText token;
    size_t begin, end;  // in all bytes of the text
  };
  void append(const TokenScore& token);
  // Cuts the text off at the first stop text that begins at `from` or later, in bytes_.
  void cut_at_stop(size_t from);
  // Returns how many bytes at the end are the beginning of a stop text.
  size_t begun_stop() const;

  const Vocabulary& vocabulary_;
  std::vector<std::string> stop_;
  bool with_tokens_;
  int32_t before_;      // the last token
  int64_t characters_;  // in all that was taken
  size_t taken_ = 0;    // bytes taken
  size_t settled_ = 0;  // bytes of bytes_ at the beginning, in which no stop text begins
  bool stopped_ = false;
  std::string bytes_;  // not yet taken
  std::vector<Held> tokens_;
};

}  // namespace tandem
