// Compares the streams with naive loops over their definitions, at all small sizes, and resumes at every position.
#include "tandem/data/batch_stream.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/data_files.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

struct Segment {
  std::vector<int32_t> inputs, targets;
  bool operator==(const Segment&) const = default;
};

// Computes entry (t, b) from the definition: column b begins at b L.
Segment naive(const std::vector<int32_t>& ids, int64_t batch_size, int64_t first, int64_t steps) {
  const int64_t length = (static_cast<int64_t>(ids.size()) - 1) / batch_size;
  Segment segment;
  for (int64_t t = 0; t < steps; ++t)
    for (int64_t b = 0; b < batch_size; ++b) {
      segment.inputs.push_back(ids[b * length + first + t]);
      segment.targets.push_back(ids[b * length + first + t + 1]);
    }
  return segment;
}

TEST_CASE("batch stream: time-major segments by hand") {
  const std::string text = "abcdefghijk";  // 11 bytes, 2 columns of 5: abcde|f and fghij|k
  const Vocabulary vocabulary = Vocabulary::of(as_bytes(text));
  BatchStream stream(Tokens(as_bytes(text), vocabulary), 2, 2);
  CHECK(stream.segments_per_epoch() == 2);
  CHECK_FALSE(stream.starts_epoch());
  Segment segment;
  stream.next(segment.inputs, segment.targets);
  CHECK(vocabulary.decode(segment.inputs) == "afbg");
  CHECK(vocabulary.decode(segment.targets) == "bgch");
  CHECK(stream.starts_epoch());
  CHECK(stream.position() == StreamPosition{0, 1});
  stream.next(segment.inputs, segment.targets);
  CHECK(vocabulary.decode(segment.inputs) == "chdi");
  CHECK(vocabulary.decode(segment.targets) == "diej");
  CHECK_FALSE(stream.starts_epoch());
  CHECK(stream.position() == StreamPosition{1, 0});  // e and j are the remainder
  stream.next(segment.inputs, segment.targets);
  CHECK(vocabulary.decode(segment.inputs) == "afbg");
  CHECK(stream.starts_epoch());
}

TEST_CASE("batch stream: equals the naive definition, and resumes at every position") {
  int compared = 0;
  for (const int64_t size : {2, 3, 4, 17, 64, 65, 66, 101}) {
    const std::string text = noisy_text(static_cast<size_t>(size), static_cast<uint32_t>(size));
    const Vocabulary vocabulary = Vocabulary::of(as_bytes(text));
    const std::vector<int32_t> ids = vocabulary.encode(text);
    for (const int64_t batch_size : {1, 2, 3, 5, 8}) {
      if (batch_size >= size) continue;
      const int64_t length = (size - 1) / batch_size;
      for (const int64_t steps : {1, 2, 3, 7, 16}) {
        if (steps > length) continue;
        CAPTURE(size);
        CAPTURE(batch_size);
        CAPTURE(steps);
        BatchStream stream(Tokens(as_bytes(text), vocabulary), batch_size, steps);
        const int64_t segments = length / steps;
        REQUIRE(stream.segments_per_epoch() == segments);
        for (int64_t i = 0; i < 2 * segments + 1; ++i) {
          const StreamPosition position = stream.position();
          REQUIRE(position == StreamPosition{i / segments, i % segments});
          BatchStream resumed(Tokens(as_bytes(text), vocabulary), batch_size, steps);
          resumed.set_position(position);
          Segment a, b;
          stream.next(a.inputs, a.targets);
          resumed.next(b.inputs, b.targets);
          REQUIRE(a == naive(ids, batch_size, (i % segments) * steps, steps));
          REQUIRE(a == b);
          REQUIRE(stream.starts_epoch() == (i % segments == 0));
          REQUIRE(resumed.starts_epoch() == stream.starts_epoch());
          REQUIRE(resumed.position() == stream.position());
          ++compared;
        }
      }
    }
  }
  CHECK(compared > 500);
}

TEST_CASE("batch stream: columns are contiguous and lose nothing at their seams") {
  const std::string text = noisy_text(1000);
  const Vocabulary vocabulary = Vocabulary::of(as_bytes(text));
  BatchStream stream(Tokens(as_bytes(text), vocabulary), 9, 111);  // 1000 - 1 = 9 * 111: uses all predictions
  Segment segment;
  stream.next(segment.inputs, segment.targets);
  std::string columns;
  for (int64_t b = 0; b < 9; ++b)
    for (int64_t t = 0; t < 111; ++t) columns += vocabulary.decode(std::span(&segment.targets[t * 9 + b], 1));
  CHECK(columns == text.substr(1));
}

TEST_CASE("batch stream: errors") {
  const std::string text = noisy_text(50);
  const Vocabulary vocabulary = Vocabulary::of(as_bytes(text));
  const auto make = [&](int64_t batch_size, int64_t steps) {
    BatchStream(Tokens(as_bytes(text), vocabulary), batch_size, steps);
  };
  CHECK(contains(error_of([&] { make(0, 5); }), "batch size is 0"));
  CHECK(contains(error_of([&] { make(-3, 5); }), "batch size is -3"));
  CHECK(contains(error_of([&] { make(5, 0); }), "segment length is 0"));
  CHECK(contains(error_of([&] { make(50, 1); }), "50 tokens cannot be cut into 50 columns"));
  CHECK_NOTHROW(make(49, 1));
  CHECK_NOTHROW(make(1, 49));
  CHECK(contains(error_of([&] { make(4, 13); }),
                 "50 tokens in 4 columns give 12 steps per column, less than one segment of 13"));
  CHECK(contains(error_of([&] { BatchStream(Tokens(), 1, 1); }), "0 tokens"));

  BatchStream stream(Tokens(as_bytes(text), vocabulary), 4, 5);  // 2 segments
  CHECK_NOTHROW(stream.set_position({7, 1}));
  CHECK(stream.position() == StreamPosition{7, 1});
  CHECK(contains(error_of([&] { stream.set_position({0, 2}); }), "epochs have 2 segments"));
  CHECK(contains(error_of([&] { stream.set_position({0, -1}); }), "segment -1"));
  CHECK(contains(error_of([&] { stream.set_position({-1, 0}); }), "epoch -1"));
  CHECK(stream.position() == StreamPosition{7, 1});
}

TEST_CASE("evaluation stream: B = 1 predicts every byte but the first, once and in order") {
  for (const size_t size : {2, 3, 10, 33, 64, 65}) {
    const std::string text = noisy_text(size);
    const Vocabulary vocabulary = Vocabulary::of(as_bytes(text));
    for (const int64_t window : {1, 2, 5, 32, 64, 1000}) {
      CAPTURE(size);
      CAPTURE(window);
      EvaluationStream stream(Tokens(as_bytes(text), vocabulary), window);
      CHECK(stream.predictions() == static_cast<int64_t>(size) - 1);
      CHECK(stream.dropped() == 0);
      std::string inputs, targets;
      Segment segment;
      while (stream.next(segment.inputs, segment.targets)) {
        const auto left = static_cast<int64_t>(size) - 1 - static_cast<int64_t>(inputs.size());
        REQUIRE(static_cast<int64_t>(segment.inputs.size()) == std::min(window, left));
        inputs += vocabulary.decode(segment.inputs);
        targets += vocabulary.decode(segment.targets);
        REQUIRE(stream.predicted() == static_cast<int64_t>(inputs.size()));
      }
      CHECK(segment.inputs.empty());
      CHECK(segment.targets.empty());
      CHECK_FALSE(stream.next(segment.inputs, segment.targets));
      CHECK(inputs == text.substr(0, size - 1));
      CHECK(targets == text.substr(1));
    }
  }
}

TEST_CASE("evaluation stream: B > 1 leaves out (N - 1) mod B predictions and no others") {
  for (const int64_t size : {9, 10, 40, 41, 42, 43, 44}) {
    const std::string text = noisy_text(static_cast<size_t>(size));
    const Vocabulary vocabulary = Vocabulary::of(as_bytes(text));
    const std::vector<int32_t> ids = vocabulary.encode(text);
    for (const int64_t batch_size : {2, 4, 7}) {
      CAPTURE(size);
      CAPTURE(batch_size);
      EvaluationStream stream(Tokens(as_bytes(text), vocabulary), 3, batch_size);
      CHECK(stream.dropped() == (size - 1) % batch_size);
      CHECK(stream.dropped() <= batch_size - 1);
      CHECK(stream.predictions() + stream.dropped() == size - 1);
      std::string last_column;
      int64_t first = 0;
      int64_t count = 0;
      Segment segment;
      while (stream.next(segment.inputs, segment.targets)) {
        const auto steps = static_cast<int64_t>(segment.inputs.size()) / batch_size;
        REQUIRE(segment == naive(ids, batch_size, first, steps));
        first += steps;
        count += static_cast<int64_t>(segment.targets.size());
      }
      CHECK(count == stream.predictions());
      CHECK(stream.predicted() == count);
    }
  }
}

TEST_CASE("streams: some of the columns are read as in the whole batch, at the same positions") {
  const std::string text = "the columns of a text can be read apart, a shard of them at a time.";
  const Vocabulary vocabulary = Vocabulary::of(as_bytes(text));
  const Tokens tokens(as_bytes(text), vocabulary);
  constexpr int64_t kColumns = 5, kSteps = 3;
  BatchStream whole(tokens, kColumns, kSteps), part(tokens, kColumns, kSteps);
  EvaluationStream all(tokens, kSteps, kColumns, 2), some(tokens, kSteps, kColumns, 2);
  part.select({1, 4});
  some.select({1, 4});
  Segment a, b;
  const auto check_part = [&a, &b] {
    REQUIRE(a.inputs.size() / kColumns * 3 == b.inputs.size());
    for (size_t t = 0; t < a.inputs.size() / kColumns; ++t)
      for (size_t c = 0; c < 3; ++c) {
        CHECK(b.inputs[t * 3 + c] == a.inputs[t * kColumns + c + 1]);
        CHECK(b.targets[t * 3 + c] == a.targets[t * kColumns + c + 1]);
      }
  };
  for (int i = 0; i < 12; ++i) {  // into the third epoch
    whole.next(a.inputs, a.targets);
    part.next(b.inputs, b.targets);
    check_part();
    CHECK(part.position() == whole.position());
    CHECK(part.starts_epoch() == whole.starts_epoch());
  }
  while (all.next(a.inputs, a.targets)) {
    REQUIRE(some.next(b.inputs, b.targets));
    check_part();
    CHECK(some.reread() == all.reread());
    CHECK(some.steps() * kColumns == static_cast<int64_t>(a.inputs.size()));
    CHECK(some.predicted() == all.predicted());
  }
  CHECK(!some.next(b.inputs, b.targets));
  CHECK(contains(error_of([&part] { part.select({4, 6}); }), "the columns 4 .. 6 are not among the 5"));
}

TEST_CASE("evaluation stream: errors") {
  const std::string text = "some text";
  const Vocabulary vocabulary = Vocabulary::of(as_bytes(text));
  CHECK(contains(error_of([&] { EvaluationStream(Tokens(as_bytes(text), vocabulary), 0); }), "window is 0"));
  CHECK(contains(error_of([&] { EvaluationStream(Tokens(as_bytes(text), vocabulary), 4, 0); }),
                 "batch size is 0"));
  CHECK(contains(error_of([&] { EvaluationStream(Tokens(as_bytes("s"), vocabulary), 4); }),
                 "evaluation stream: 1 tokens cannot be cut"));
  const std::string columns = error_of([&] { EvaluationStream(Tokens(as_bytes(text), vocabulary), 4, 9); });
  CHECK(contains(
      columns,
      "evaluation stream: 9 tokens cannot be cut into 9 columns. The batch size, 9, is the number of"));
  CHECK(contains(columns, "use a batch size of at most 8, or a text of at least 10 tokens"));
}

}  // namespace
}  // namespace tandem::testing
