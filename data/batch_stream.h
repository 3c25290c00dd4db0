// Streams of (inputs, targets) over a text: endless segments for training, one exact pass for evaluation.
//
// Both lay N tokens out as B columns. A column predicts L = (N - 1) / B tokens (integer division): column b
// reads tokens b L .. b L + L - 1, and its targets are those positions plus one, so the last target of a column
// is the first input of the next one and cutting into columns loses no prediction. Left out are (N - 1) mod B
// predictions at the end of the text: none for B = 1, at most B - 1 otherwise. Arrays are time-major, of shape
// (steps, B), with entry (t, b) at t * B + b. Tokens are read when a segment is asked for, so the text must
// outlive the stream.
#pragma once
#include <cstdint>
#include <vector>

#include "tandem/core/shard_tree.h"
#include "tandem/data/tokens.h"

namespace tandem {

// The B columns of a text, or some neighbours among them, read by position.
class TokenColumns {
 public:
  // Errors, which begin with `stream`: batch_size < 1; fewer than batch_size + 1 tokens.
  TokenColumns(const Tokens& tokens, int64_t batch_size, const char* stream = "batch stream");

  // From now on reads these columns alone. Error: one of them does not exist.
  void select(IndexRange columns);

  int64_t batch_size() const { return batch_size_; }  // of the whole text, B above
  int64_t width() const { return columns_.size(); }   // number of columns that are read
  int64_t length() const { return length_; }          // predictions in a column, L above

  // Fills (steps, width) arrays from positions first .. first + steps - 1 of every column that is read.
  void gather(int64_t first, int64_t steps, std::vector<int32_t>& inputs,
              std::vector<int32_t>& targets) const;

 private:
  Tokens tokens_;
  int64_t batch_size_;
  IndexRange columns_;
  int64_t length_;
};

// The position of a training stream: the segment that next() returns next.
struct StreamPosition {
  int64_t epoch = 0;
  int64_t segment = 0;
  bool operator==(const StreamPosition&) const = default;
};

// Training: repeats the columns in segments of exactly T = segment_length steps. An epoch is L / T segments
// (integer division); the last L mod T steps of each column are never used, so that all segments have one shape.
// (The SRU++ authors' script trains on that short segment, too: 2747 segments an epoch on enwik8 with B = 32 and
// T = 1024, 2746 here.) The position is the stream's only state: to resume exactly, build the stream from the same
// arguments and set the position.
class BatchStream {
 public:
  // Error: as TokenColumns; a column shorter than one segment.
  BatchStream(const Tokens& tokens, int64_t batch_size, int64_t segment_length);

  // From now on reads these columns alone, at the same positions. Error: one of them does not exist.
  void select(IndexRange columns) { columns_.select(columns); }

  // Fills (T, B) inputs and targets with the next segment.
  void next(std::vector<int32_t>& inputs, std::vector<int32_t>& targets);

  // Returns whether the last segment opens an epoch. If so, reset recurrent state and memory before using it: the
  // columns have jumped back to their beginnings. False before the first next().
  bool starts_epoch() const { return starts_epoch_; }

  StreamPosition position() const { return position_; }
  // Error: epoch < 0; segment outside 0 .. segments_per_epoch() - 1.
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

// Evaluation: one pass over the columns in segments of `window` steps, the last one shorter if window does not
// divide L. State and memory carry over from the first segment to the last; for models that carry nothing over,
// each segment begins with up to `reread` steps of the text before it. Every column starts without context, so
// exact totals need B = 1, where N tokens give N - 1 predictions.
class EvaluationStream {
 public:
  // Error: as TokenColumns; window < 1; reread < 0.
  EvaluationStream(const Tokens& tokens, int64_t window, int64_t batch_size = 1, int64_t reread = 0);

  // From now on reads these columns alone; may be none. The numbers of predictions stay those of all columns. Error: one
  // of them does not exist.
  void select(IndexRange columns) { columns_.select(columns); }
  int64_t width() const { return columns_.width(); }  // number of columns that are read

  // Fills (steps, B) inputs and targets with the next segment, whose first reread()
  // steps repeat earlier ones. Returns false, with both arrays empty, at the end.
  bool next(std::vector<int32_t>& inputs, std::vector<int32_t>& targets);

  int64_t reread() const { return reread_steps_; }
  int64_t steps() const { return steps_; }  // of the last segment, those that it repeats included

  int64_t batch_size() const { return columns_.batch_size(); }
  int64_t predictions() const {
    return columns_.batch_size() * columns_.length();
  }                                                                    // number of predictions in all
  int64_t predicted() const { return columns_.batch_size() * done_; }  // number so far
  int64_t dropped() const { return dropped_; }                         // number left out: (N - 1) mod B

 private:
  TokenColumns columns_;
  int64_t window_;
  int64_t reread_;
  int64_t dropped_;
  int64_t done_ = 0;  // steps of each column so far
  int64_t reread_steps_ = 0;
  int64_t steps_ = 0;
};

}  // namespace tandem
