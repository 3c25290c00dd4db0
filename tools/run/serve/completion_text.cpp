// Holding back, cutting off, and counting characters.
#include "tandem/tools/run/serve/completion_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "tandem/core/utf8.h"

namespace tandem {
namespace {

std::string token_text(const std::string& piece) {
  if (is_utf8(piece)) return piece;
  std::string text = "bytes:";
  for (const char byte : piece) text += fmt::format("\\x{:02x}", static_cast<uint8_t>(byte));
  return text;
}

}  // namespace

void CompletionText::append(const TokenScore& token) {
  const std::string piece = vocabulary_.piece(token.id, before_);
  const size_t begin = taken_ + bytes_.size();
  bytes_ += piece;
  if (with_tokens_) {
    Held held{{.text = token_text(piece), .logprob = token.logprob, .top = {}}, begin, begin + piece.size()};
    for (const auto& [id, logprob] : token.top)
      held.token.top.emplace_back(token_text(vocabulary_.piece(id, before_)), logprob);
    tokens_.push_back(std::move(held));
  }
  before_ = token.id;
}

void CompletionText::add_prompt(const TokenScore& token) {
  append(token);
  settled_ = bytes_.size();
}

bool CompletionText::add(const TokenScore& token) {
  append(token);
  cut_at_stop(settled_);
  if (!stopped_) settled_ = bytes_.size() - begun_stop();
  return !stopped_;
}

void CompletionText::cut_at_stop(size_t from) {
  size_t first = std::string::npos;
  for (const std::string& stop : stop_) first = std::min(first, bytes_.find(stop, from));
  if (first == std::string::npos) return;
  stopped_ = true;
  bytes_.resize(first);
  const size_t end = taken_ + first;
  while (!tokens_.empty() && tokens_.back().begin >= end) tokens_.pop_back();
  if (!tokens_.empty()) tokens_.back().end = std::min(tokens_.back().end, end);
}

size_t CompletionText::begun_stop() const {
  size_t longest = 0;
  for (const std::string& stop : stop_)
    for (size_t length = std::min(stop.size() - 1, bytes_.size() - settled_); length > longest; --length)
      if (std::string_view(bytes_).ends_with(std::string_view(stop).substr(0, length))) longest = length;
  return longest;
}

CompletionText::Part CompletionText::take(bool all) {
  size_t ready = bytes_.size();
  if (!all) {
    ready = std::min(ready, settled_);
    ready -= unfinished_utf8(std::string_view(bytes_).substr(0, ready));
  }
  const std::string_view bytes = std::string_view(bytes_).substr(0, ready);
  Part part{replaced_utf8(bytes), {}};
  const std::vector<size_t> starts = character_starts(bytes);
  size_t character = 0;  // starts before the token and at its place
  for (Held& held : tokens_) {
    if (held.token.offset >= 0) continue;
    if (held.begin >= taken_ + ready) break;
    while (character < starts.size() && taken_ + starts[character] <= held.begin) ++character;
    held.token.offset = characters_ + static_cast<int64_t>(character) - 1;
  }
  const auto last = std::find_if(tokens_.begin(), tokens_.end(),
                                 [&](const Held& held) { return held.end > taken_ + ready; });
  for (auto held = tokens_.begin(); held != last; ++held) part.tokens.push_back(std::move(held->token));
  tokens_.erase(tokens_.begin(), last);
  characters_ += static_cast<int64_t>(starts.size());
  taken_ += ready;
  bytes_.erase(0, ready);
  settled_ -= std::min(settled_, ready);
  return part;
}

}  // namespace tandem
