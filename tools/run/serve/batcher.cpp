// Turns of the batch.
#include "tandem/tools/run/serve/batcher.h"

#include <algorithm>

#include "tandem/core/check.h"

namespace tandem {
namespace {

// A piece of a prompt has at most so many tokens, and so many numbers as logits: a large vocabulary has shorter ones.
constexpr int64_t kLongestPiece = 256, kMostLogits = 1 << 22;

// Returns row `row` of logits (..., V) as f64.
std::vector<double> row_of(const Tensor& logits, int64_t row) {
  const int64_t width = logits.size(-1);
  return logits.view_as({logits.numel() / width, width})
      .view_rows(row, row + 1)
      .to(DType::f64)
      .to_vector<double>();
}

// Returns the score of an id: its log-probability, and the `most` most probable ids, the lower id first among equals.
TokenScore score_of(int32_t id, const std::vector<double>& logits, int64_t most) {
  const std::vector<double> all = log_probabilities(logits);
  TokenScore score{id, all[static_cast<size_t>(id)], {}};
  for (const int32_t other : likeliest_ids(all, most))
    score.top.emplace_back(other, all[static_cast<size_t>(other)]);
  return score;
}

}  // namespace

Batcher::Batcher(const LanguageModel& model, const AttentionContext& context, const BatcherOptions& options)
    : model_(model),
      context_(context),
      options_(options),
      piece_(std::clamp<int64_t>(kMostLogits / model.vocabulary_size(), 1, kLongestPiece)) {
  TANDEM_CHECK(options.max_batch > 0 && options.queue > 0 && options.prompt_tokens > 0,
               "batcher: a batch of {}, a queue of {} and {} tokens of prompts must be positive",
               options.max_batch, options.queue, options.prompt_tokens);
}

Batcher::Admission Batcher::add(const std::vector<std::shared_ptr<Sequence>>& sequences) {
  {
    const std::scoped_lock lock(mutex_);
    if (closed_) return Admission::closed;
    if (static_cast<int64_t>(waiting_.size() + sequences.size()) > options_.queue) return Admission::full;
    waiting_.insert(waiting_.end(), sequences.begin(), sequences.end());
  }
  added_.notify_one();
  return Admission::accepted;
}

void Batcher::close() {
  const std::scoped_lock lock(mutex_);
  closed_ = true;
}

void Batcher::wait(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  added_.wait_for(lock, time, [this] { return !waiting_.empty(); });
}

Batcher::Load Batcher::load() const {
  const std::scoped_lock lock(mutex_);
  return {running_, static_cast<int64_t>(waiting_.size())};
}

void Batcher::note_load() {
  const std::scoped_lock lock(mutex_);
  running_ = static_cast<int64_t>(rows_.size() + readers_.size());
}

bool Batcher::turn() {
  drop_cancelled();
  admit();
  const bool busy = !readers_.empty() || !rows_.empty();
  if (!readers_.empty()) read_prompts();
  if (!rows_.empty()) step();
  note_load();
  return busy;
}

void Batcher::drop_cancelled() {
  std::vector<std::shared_ptr<Sequence>> gone;
  {
    const std::scoped_lock lock(mutex_);
    std::erase_if(waiting_, [&gone](const auto& sequence) {
      const bool cancelled = sequence->cancelled();
      if (cancelled) gone.push_back(sequence);
      return cancelled;
    });
  }
  std::erase_if(readers_, [&gone](const Reader& reader) {
    const bool cancelled = reader.sequence->cancelled();
    if (cancelled) gone.push_back(reader.sequence);
    return cancelled;
  });
  std::vector<bool> stays;
  for (const Row& row : rows_) {
    stays.push_back(!row.sequence->cancelled());
    if (!stays.back()) gone.push_back(row.sequence);
  }
  keep_rows(stays);
  for (const auto& sequence : gone) sequence->on_end("cancelled");
}

void Batcher::admit() {
  const std::scoped_lock lock(mutex_);
  while (!waiting_.empty() && static_cast<int64_t>(readers_.size() + rows_.size()) < options_.max_batch) {
    readers_.push_back({std::move(waiting_.front()), nullptr, 0, {}});
    waiting_.pop_front();
  }
}

void Batcher::read_prompts() {
  for (int64_t tokens = 0; !readers_.empty() && tokens < options_.prompt_tokens;) {
    Reader& reader = readers_.front();
    try {
      tokens += read_piece(reader);
    } catch (const std::exception& error) {
      reader.sequence->on_end(error.what());
      readers_.pop_front();
      continue;
    }
    Reader first = std::move(reader);
    readers_.pop_front();
    if (first.read < first.sequence->prompt.size())
      readers_.push_back(
          std::move(first));  // behind the others, so that short prompts need not wait for long ones
    else
      join(std::move(first));
  }
}

int64_t Batcher::read_piece(Reader& reader) {
  Sequence& sequence = *reader.sequence;
  if (!reader.decoder) reader.decoder = model_.decoder(1, context_);
  const size_t begin = reader.read;
  const size_t end = std::min(sequence.prompt.size(), begin + static_cast<size_t>(piece_));
  const std::vector<int32_t> ids(sequence.prompt.begin() + static_cast<std::ptrdiff_t>(begin),
                                 sequence.prompt.begin() + static_cast<std::ptrdiff_t>(end));
  const auto count = static_cast<int64_t>(ids.size());
  const Tensor tokens = tensor_of<int32_t>({count, 1}, ids).to(model_.device());
  const Tensor logits =
      reader.decoder->read(tokens, sequence.score_prompt).to(Device::cpu());  // one copy for all rows
  if (sequence.score_prompt) {
    if (begin == 0) sequence.on_prompt({.id = ids[0]});
    // The logits of a token give the probability of the one that follows.
    for (int64_t i = 0; begin + static_cast<size_t>(i) + 1 < sequence.prompt.size() && i < count; ++i)
      sequence.on_prompt(score_of(sequence.prompt[begin + static_cast<size_t>(i) + 1], row_of(logits, i),
                                  sequence.logprobs.value_or(0)));
  }
  reader.logits = logits.view_rows(logits.size(0) - 1, logits.size(0)).clone();
  reader.read = end;
  return count;
}

void Batcher::join(Reader reader) {
  Row row{reader.sequence, Random(reader.sequence->sampling.seed)};
  if (row.sequence->max_tokens <= 0) return row.sequence->on_end("");
  if (!draw(row, row_of(reader.logits, 0))) return;
  rows_.push_back(std::move(row));
  try {
    if (batch_)
      batch_->append(*reader.decoder);
    else
      batch_ = std::move(reader.decoder);
  } catch (const std::exception& error) {  // some layers may have taken the row
    lose_batch(error.what());
  }
}

void Batcher::lose_batch(const std::string& error) {
  std::vector<Row> rows;
  rows.swap(rows_);
  batch_.reset();
  for (const Row& row : rows) row.sequence->on_end(error);
}

void Batcher::step() {
  std::vector<int32_t> ids;
  for (const Row& row : rows_) ids.push_back(row.last);
  Tensor logits;
  try {
    const auto rows = static_cast<int64_t>(rows_.size());
    // One copy for all rows.
    logits = batch_->step(tensor_of<int32_t>({rows}, ids).to(model_.device())).to(Device::cpu());
  } catch (const std::exception& error) {
    return lose_batch(error.what());
  }
  std::vector<bool> stays;
  for (size_t i = 0; i < rows_.size(); ++i)
    stays.push_back(draw(rows_[i], row_of(logits, static_cast<int64_t>(i))));
  keep_rows(stays);
}

bool Batcher::draw(Row& row, const std::vector<double>& logits) {
  Sequence& sequence = *row.sequence;
  try {
    row.last = draw_token(sampling_distribution(logits, sequence.sampling), row.random);
    const TokenScore score =
        sequence.logprobs ? score_of(row.last, logits, *sequence.logprobs) : TokenScore{.id = row.last};
    if (sequence.on_token(score) && ++row.drawn < sequence.max_tokens) return true;
  } catch (const std::exception& error) {  // such as a logit that is not finite
    sequence.on_end(error.what());
    return false;
  }
  sequence.on_end("");
  return false;
}

void Batcher::keep_rows(const std::vector<bool>& stays) {
  std::vector<int64_t> kept;
  for (size_t i = 0; i < stays.size(); ++i)
    if (stays[i]) kept.push_back(static_cast<int64_t>(i));
  if (kept.size() == rows_.size()) return;
  std::vector<Row> rows;
  for (const int64_t row : kept) rows.push_back(std::move(rows_[static_cast<size_t>(row)]));
  rows_ = std::move(rows);
  if (rows_.empty()) return batch_.reset();
  try {
    batch_->keep(kept);
  } catch (const std::exception& error) {
    lose_batch(error.what());
  }
}

int64_t Batcher::cut(const std::string& error) {
  std::vector<std::shared_ptr<Sequence>> all;
  for (const Row& row : rows_) all.push_back(row.sequence);
  for (const Reader& reader : readers_) all.push_back(reader.sequence);
  rows_.clear();
  readers_.clear();
  batch_.reset();
  {
    const std::scoped_lock lock(mutex_);
    all.insert(all.end(), waiting_.begin(), waiting_.end());
    waiting_.clear();
    running_ = 0;
  }
  for (const auto& sequence : all) sequence->on_end(error);
  return static_cast<int64_t>(all.size());
}

}  // namespace tandem
