// The training and evaluation streams: columns of bytes cut into time-major segments of ids.
#include "data/batch_stream.h"

#include <algorithm>

#include "core/check.h"

namespace tandem {

ByteColumns::ByteColumns(std::span<const uint8_t> bytes, const Vocabulary& vocabulary, int64_t batch_size)
    : bytes_(bytes), batch_size_(batch_size) {
  CHECK(batch_size >= 1, "batch stream: batch size is {}; it must be at least 1", batch_size);
  const auto size = static_cast<int64_t>(bytes.size());
  CHECK(size > batch_size,
        "batch stream: {} bytes cannot be cut into {} columns of at least one prediction; use a longer text, "
        "or a batch "
        "size below the number of bytes",
        size, batch_size);
  vocabulary.check_covers(bytes);
  for (int value = 0; value < 256; ++value) ids_[value] = vocabulary.id(static_cast<uint8_t>(value));
  length_ = (size - 1) / batch_size;
}

void ByteColumns::gather(int64_t first, int64_t steps, std::vector<int32_t>& inputs,
                         std::vector<int32_t>& targets) const {
  inputs.resize(static_cast<size_t>(steps * batch_size_));
  targets.resize(inputs.size());
  for (int64_t b = 0; b < batch_size_; ++b) {
    const uint8_t* column = bytes_.data() + b * length_ + first;
    for (int64_t t = 0; t < steps; ++t) {
      inputs[t * batch_size_ + b] = ids_[column[t]];
      targets[t * batch_size_ + b] = ids_[column[t + 1]];
    }
  }
}

BatchStream::BatchStream(std::span<const uint8_t> bytes, const Vocabulary& vocabulary, int64_t batch_size,
                         int64_t segment_length)
    : columns_(bytes, vocabulary, batch_size), segment_length_(segment_length) {
  CHECK(segment_length >= 1, "batch stream: segment length is {}; it must be at least 1", segment_length);
  CHECK(columns_.length() >= segment_length,
        "batch stream: {} bytes in {} columns give {} steps per column, less than one segment of {}; use a "
        "longer text, "
        "a smaller batch or shorter segments",
        bytes.size(), batch_size, columns_.length(), segment_length);
}

bool BatchStream::next(std::vector<int32_t>& inputs, std::vector<int32_t>& targets) {
  columns_.gather(position_.segment * segment_length_, segment_length_, inputs, targets);
  starts_epoch_ = position_.segment == 0;
  if (++position_.segment == segments_per_epoch()) position_ = {position_.epoch + 1, 0};
  return true;
}

void BatchStream::set_position(StreamPosition position) {
  CHECK(position.epoch >= 0 && position.segment >= 0 && position.segment < segments_per_epoch(),
        "batch stream: position (epoch {}, segment {}) is outside of this stream, whose epochs have {} "
        "segments; resume "
        "with the text, batch size and segment length that the position was saved with",
        position.epoch, position.segment, segments_per_epoch());
  position_ = position;
  starts_epoch_ = false;
}

EvaluationStream::EvaluationStream(std::span<const uint8_t> bytes, const Vocabulary& vocabulary,
                                   int64_t window, int64_t batch_size)
    : columns_(bytes, vocabulary, batch_size), window_(window) {
  CHECK(window >= 1, "evaluation stream: window is {}; it must be at least 1", window);
  dropped_ = (static_cast<int64_t>(bytes.size()) - 1) % batch_size;
}

bool EvaluationStream::next(std::vector<int32_t>& inputs, std::vector<int32_t>& targets) {
  const int64_t steps = std::min(window_, columns_.length() - done_);
  columns_.gather(done_, steps, inputs, targets);
  done_ += steps;
  return steps > 0;
}

}  // namespace tandem
