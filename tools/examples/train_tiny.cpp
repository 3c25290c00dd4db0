// Trains a small SRU++ through the library alone: train_tiny [CORPUS [STEPS]]
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "tandem/autograd/tape.h"
#include "tandem/data/batch_stream.h"
#include "tandem/data/corpus.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/optimizer.h"

using namespace tandem;

int main(int argc, char** argv) {
  CorpusOptions text;
  text.name_or_path = argc > 1 ? argv[1] : "gcide";  // or any file, read as bytes
  const Corpus corpus = load_corpus(text);
  const int steps = argc > 2 ? std::stoi(argv[2]) : 1000;
  constexpr int64_t kBatch = 8, kUnroll = 64;

  const std::string config =
      R"({"model": "srupp", "d": 256, "d_projected": 64, "layers": 2, "vocabulary": )" +
      std::to_string(corpus.vocabulary.size()) + "}";
  const auto model = make_model(config, /*seed=*/1);
  Optimizer optimizer(model->parameters(), {.kind = "adamw", .weight_decay = 0.01});
  BatchStream stream(corpus.split("train"), kBatch, kUnroll);

  State state;  // cell states and attention memory, carried from segment to segment
  std::vector<int32_t> inputs, targets;
  for (int step = 0; step < steps; ++step) {
    stream.next(inputs, targets);
    if (stream.starts_epoch()) state = State();

    Tape tape;  // records the operators of this step
    const ForwardOptions options{.training = true, .seed = 1, .step = static_cast<uint32_t>(step)};
    const Tensor loss = model->loss(tensor_of<int32_t>({kUnroll, kBatch}, inputs),
                                    tensor_of<int32_t>({kUnroll, kBatch}, targets), state, options);
    tape.backward(loss);
    optimizer.step(/*lr=*/3e-3);
    if (step % 50 == 0 || step + 1 == steps)
      std::printf("step %4d  %.3f bits per character\n", step, loss.item() / std::log(2.0));
  }
}
