// Batcher: runs many sequences on one model in a batch that they join and leave between two tokens (continuous batching,
// after Yu et al., "Orca: A Distributed Serving System for Transformer-Based Generative Models", OSDI 2022).
#pragma once
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tandem/models/language_model.h"
#include "tandem/models/training/sampling.h"
#include "tandem/tools/run/serve/completion_text.h"

namespace tandem {

// A text to continue. The batcher calls its functions on its own thread, and the batch waits for them: they must neither
// wait nor throw.
class Sequence {
 public:
  virtual ~Sequence() = default;

  std::vector<int32_t> prompt;  // ids to read before the first draw, at least one (prompt_ids())
  int64_t max_tokens = 16;      // ids to draw
  SamplingOptions sampling;
  std::optional<int64_t> logprobs;  // gives log-probabilities, and so many most probable tokens
  bool score_prompt = false;        // gives those of the prompt, too

  // Returns true if nobody waits for the rest: the sequence then leaves the batch before its next token.
  virtual bool cancelled() const = 0;
  // Takes the tokens of the prompt, in order, once they are scored. Not called without score_prompt.
  virtual void on_prompt(const TokenScore& token) = 0;
  // Takes a token that was drawn. Returns false to end the sequence.
  virtual bool on_token(const TokenScore& token) = 0;
  // Is called once, last of all. `error` is empty, or says why the sequence could not go on.
  virtual void on_end(const std::string& error) = 0;
};

struct BatcherOptions {
  int64_t max_batch = 32;       // sequences that run at a time, those included whose prompts are being read
  int64_t queue = 128;          // sequences that wait for a place
  int64_t prompt_tokens = 256;  // tokens of prompts that are read between two tokens of the others, about
};

class Batcher {
 public:
  // The model must outlive it. Error: an option that is not positive.
  Batcher(const LanguageModel& model, const AttentionContext& context, const BatcherOptions& options);

  enum class Admission { accepted, full, closed };
  // Takes sequences in, all or none. May be called from any thread.
  Admission add(const std::vector<std::shared_ptr<Sequence>>& sequences);
  // Lets add() take in nothing more.
  void close();

  // All that follow are called by one thread, which owns the model.

  // Reads pieces of prompts, then draws a token for each running sequence. Returns false if there is nothing to do.
  // Every sequence reads its prompt alone, in pieces whose lengths do not depend on the others; then it joins the batch.
  bool turn();
  // Waits until there is a sequence, or until the time is over.
  void wait(std::chrono::milliseconds time);
  // Ends all sequences with this error. Returns their number.
  int64_t cut(const std::string& error);

  struct Load {
    int64_t running = 0, waiting = 0;
  };
  Load load() const;  // from any thread

 private:
  struct Reader {
    std::shared_ptr<Sequence> sequence;
    std::unique_ptr<Decoder> decoder;
    size_t read = 0;  // tokens of the prompt that were read
    Tensor logits;    // (1, 1, V), after the last of them
  };
  struct Row {
    std::shared_ptr<Sequence> sequence;
    Random random;
    int64_t drawn = 0;
    int32_t last = 0;  // the id that was drawn last
  };

  void drop_cancelled();
  void admit();
  // Reads the next pieces of prompts, one prompt after the other.
  void read_prompts();
  // Reads one piece. Returns its length.
  int64_t read_piece(Reader& reader);
  // Draws the first token of a sequence whose prompt is read, and lets it join the batch.
  void join(Reader reader);
  void step();
  // Draws the next token of a row. Returns false if the sequence has ended with it.
  bool draw(Row& row, const std::vector<double>& logits);
  // Keeps the rows for which `stays` is true.
  void keep_rows(const std::vector<bool>& stays);
  // Ends all running sequences with this error, such as no memory left: the next batch may be smaller.
  void lose_batch(const std::string& error);
  void note_load();

  const LanguageModel& model_;
  AttentionContext context_;
  BatcherOptions options_;
  int64_t piece_;  // tokens of a prompt that are read at once
  std::deque<Reader> readers_;
  std::unique_ptr<Decoder> batch_;  // of rows_; null without any
  std::vector<Row> rows_;

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable added_;
  std::deque<std::shared_ptr<Sequence>> waiting_;
  bool closed_ = false;
  int64_t running_ = 0;
};

}  // namespace tandem
