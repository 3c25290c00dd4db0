// Streams of (inputs, targets) over a text: endless segments for training, one exact pass for evaluation.
//
// Both lay N tokens out as B columns. A column predicts L = (N - 1) / B tokens (integer division): column b
// reads tokens b L .. b L + L - 1, and its targets are those positions plus one, so the last target of a
// column is the first input of the next one and cutting into columns loses no prediction. What stays out is
// (N - 1) mod B predictions at the end of the text: none for B = 1, at most B - 1 otherwise. Arrays are
// time-major: of shape (steps, B), entry (t, b) at t * B + b. Tokens are read as segments are asked for; what
// they lie in must outlive the stream.
#pragma once
#include <cstdint>
#include <vector>

#include "data/tokens.h"

namespace tandem {

// The B columns of a text, read by position.
class TokenColumns {
 public:
  // Throws when batch_size < 1 or when there are fewer than batch_size + 1 tokens.
  TokenColumns(const Tokens& tokens, int64_t batch_size);

  int64_t batch_size() const { return batch_size_; }
  int64_t length() const { return length_; }  // predictions per column, L above

  // Fills (steps, batch_size) arrays from positions first .. first + steps - 1 of every column.
  void gather(int64_t first, int64_t steps, std::vector<int32_t>& inputs,
              std::vector<int32_t>& targets) const;

 private:
  Tokens tokens_;
  int64_t batch_size_;
  int64_t length_;
};

// Where a training stream stands: the segment that next() will give.
struct StreamPosition {
  int64_t epoch = 0;
  int64_t segment = 0;
  bool operator==(const StreamPosition&) const = default;
};

// Training: the columns in segments of exactly T = segment_length steps, over and over.
// An epoch is L / T segments (integer division); the last L mod T steps of each column are never trained on,
// so that all segments have one shape. Only the position changes as the stream moves on: to resume exactly,
// build the stream from the same arguments and set the position.
class BatchStream {
 public:
  // Throws as TokenColumns does, and when not even one segment fits.
  BatchStream(const Tokens& tokens, int64_t batch_size, int64_t segment_length);

  // Fills (T, B) inputs and targets with the next segment. Always true: there is always a next one.
  bool next(std::vector<int32_t>& inputs, std::vector<int32_t>& targets);

  // Whether the segment that next() gave last opens an epoch: recurrent state and memory must be reset before
  // it is used, because the columns jumped back to their beginnings. False before the first next().
  bool starts_epoch() const { return starts_epoch_; }

  StreamPosition position() const { return position_; }
  // Throws unless epoch >= 0 and 0 <= segment < segments_per_epoch().
  void set_position(StreamPosition position);

  int64_t batch_size() const { return columns_.batch_size(); }
  int64_t segment_length() const { return segment_length_; }
  int64_t segments_per_epoch() const { return columns_.length() / segment_length_; }

 private:
  TokenColumns columns_;
  int64_t segment_length_;
  StreamPosition position_;
  bool starts_epoch_ = false;
};

// Evaluation: one pass over the columns in segments of `window` steps, the last one shorter when window does
// not divide L. Each begins with up to `reread` steps of those before it, for models that carry nothing over.
// State and memory are carried from the first segment to the last. Every column begins with no context, so
// exact totals use B = 1, where N tokens give N - 1 predictions.
class EvaluationStream {
 public:
  // Throws as TokenColumns does, when window < 1, and when reread < 0.
  EvaluationStream(const Tokens& tokens, int64_t window, int64_t batch_size = 1, int64_t reread = 0);

  // Fills (steps, B) inputs and targets with the next segment, steps = inputs.size() / B; false, with both
  // left empty, when all were given. The first reread() of the steps were given before.
  bool next(std::vector<int32_t>& inputs, std::vector<int32_t>& targets);

  int64_t reread() const { return reread_steps_; }

  // Back to the first segment.
  void rewind() { done_ = 0; }

  int64_t batch_size() const { return columns_.batch_size(); }
  int64_t predictions() const { return columns_.batch_size() * columns_.length(); }  // in one pass
  int64_t predicted() const { return columns_.batch_size() * done_; }                // so far
  int64_t dropped() const { return dropped_; }  // predictions left out: (N - 1) mod B

 private:
  TokenColumns columns_;
  int64_t window_;
  int64_t reread_;
  int64_t dropped_;
  int64_t done_ = 0;  // steps given
  int64_t reread_steps_ = 0;
};

}  // namespace tandem
