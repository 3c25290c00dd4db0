// Cuts columns of tokens into time-major segments of ids, for training and for evaluation.
#include "tandem/data/batch_stream.h"

#include <algorithm>

#include "tandem/core/check.h"

namespace tandem {

TokenColumns::TokenColumns(const Tokens& tokens, int64_t batch_size, const char* stream)
    : tokens_(tokens), batch_size_(batch_size), columns_{0, batch_size} {
  TANDEM_CHECK(batch_size >= 1, "{}: batch size is {}; it must be at least 1", stream, batch_size);
  TANDEM_CHECK(tokens.size() > 1,
               "{}: {} tokens cannot be cut into columns: one predicts the next, so use a text of at "
               "least 2",
               stream, tokens.size());
  TANDEM_CHECK(
      tokens.size() > batch_size,
      "{}: {} tokens cannot be cut into {} columns. The batch size, {}, is the number of columns, which are pieces "
      "of the text that are read side by side; each needs a token to read and one to predict, so use a batch size of "
      "at most {}, or a text of at least {} tokens",
      stream, tokens.size(), batch_size, batch_size, tokens.size() - 1, batch_size + 1);
  length_ = (tokens.size() - 1) / batch_size;
}

void TokenColumns::select(IndexRange columns) {
  TANDEM_CHECK(0 <= columns.first && columns.first <= columns.last && columns.last <= batch_size_,
               "batch stream: the columns {} .. {} are not among the {} that the text is cut into",
               columns.first, columns.last, batch_size_);
  columns_ = columns;
}

void TokenColumns::gather(int64_t first, int64_t steps, std::vector<int32_t>& inputs,
                          std::vector<int32_t>& targets) const {
  const int64_t width = columns_.size();
  inputs.resize(static_cast<size_t>(steps * width));
  targets.resize(inputs.size());
  for (int64_t b = 0; b < width; ++b) {
    const int64_t column = (columns_.first + b) * length_ + first;
    for (int64_t t = 0; t < steps; ++t) {
      inputs[t * width + b] = tokens_[column + t];
      targets[t * width + b] = tokens_[column + t + 1];
    }
  }
}

BatchStream::BatchStream(const Tokens& tokens, int64_t batch_size, int64_t segment_length)
    : columns_(tokens, batch_size), segment_length_(segment_length) {
  TANDEM_CHECK(segment_length >= 1, "batch stream: segment length is {}; it must be at least 1",
               segment_length);
  TANDEM_CHECK(
      columns_.length() >= segment_length,
      "batch stream: {} tokens in {} columns give {} steps per column, less than one segment of {}; use a "
      "longer text, a smaller batch or shorter segments",
      tokens.size(), batch_size, columns_.length(), segment_length);
}

void BatchStream::next(std::vector<int32_t>& inputs, std::vector<int32_t>& targets) {
  columns_.gather(position_.segment * segment_length_, segment_length_, inputs, targets);
  starts_epoch_ = position_.segment == 0;
  if (++position_.segment == segments_per_epoch()) position_ = {position_.epoch + 1, 0};
}

void BatchStream::set_position(StreamPosition position) {
  TANDEM_CHECK(
      position.epoch >= 0 && position.segment >= 0 && position.segment < segments_per_epoch(),
      "batch stream: position (epoch {}, segment {}) is outside of this stream, whose epochs have {} "
      "segments; resume with the text, batch size and segment length that the position was saved with",
      position.epoch, position.segment, segments_per_epoch());
  position_ = position;
  starts_epoch_ = false;
}

EvaluationStream::EvaluationStream(const Tokens& tokens, int64_t window, int64_t batch_size, int64_t reread)
    : columns_(tokens, batch_size, "evaluation stream"), window_(window), reread_(reread) {
  TANDEM_CHECK(reread >= 0, "evaluation stream: {} steps cannot be read again", reread);
  TANDEM_CHECK(window >= 1, "evaluation stream: window is {}; it must be at least 1", window);
  dropped_ = (tokens.size() - 1) % batch_size;
}

bool EvaluationStream::next(std::vector<int32_t>& inputs, std::vector<int32_t>& targets) {
  const int64_t steps = std::min(window_, columns_.length() - done_);
  reread_steps_ = steps > 0 ? std::min(reread_, done_) : 0;
  steps_ = reread_steps_ + steps;
  columns_.gather(done_ - reread_steps_, steps_, inputs, targets);
  done_ += steps;
  return steps > 0;
}

}  // namespace tandem
