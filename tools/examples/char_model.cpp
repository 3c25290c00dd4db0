// A character model of three operators: embedding, SRU recurrence, output. char_model [TEXT [STEPS]]
#include <cmath>
#include <cstdio>
#include <string>

#include "tandem/autograd/tape.h"
#include "tandem/core/random.h"
#include "tandem/data/batch_stream.h"
#include "tandem/data/corpus.h"
#include "tandem/models/training/optimizer.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/embedding.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/sru_scan.h"

using namespace tandem;

int main(int argc, char** argv) {
  CorpusOptions text;
  text.name_or_path = argc > 1 ? argv[1] : "gcide";
  const Corpus corpus = load_corpus(text);
  const int steps = argc > 2 ? std::stoi(argv[2]) : 1000;
  constexpr int64_t kBatch = 8, kUnroll = 64, kWidth = 128;

  Random random(1);
  std::vector<NamedTensor> parameters;
  const auto parameter = [&](const char* name, Shape shape) {
    const double deviation = 1 / std::sqrt(static_cast<double>(kWidth));
    parameters.push_back({name, requires_grad(normal(shape, random, 0, deviation), name)});
    return parameters.back().value;
  };
  const Tensor table = parameter("embedding", {corpus.vocabulary.size(), kWidth});
  const Tensor gates = parameter("gates", {3 * kWidth, kWidth});
  const Tensor state_weight = parameter("state_weight", {2 * kWidth}), bias = parameter("bias", {2 * kWidth});
  const Tensor output = parameter("output", {corpus.vocabulary.size(), kWidth});
  // Maps characters (T, B) to logits (T, B, V), and the state (B, D) before them to the state after them.
  const auto model = [&](const Tensor& characters, Tensor& state) {
    const Tensor x = embedding(characters, table);
    const SruScanResult scan = sru_scan(linear(x, gates), x, state_weight, bias, state);
    state = scan.c_last.detach();  // the next segment goes on from the values, not into their history
    return linear(scan.h, output);
  };

  Optimizer optimizer(parameters, {.kind = "adamw", .weight_decay = 0.01});
  BatchStream stream(corpus.split("train"), kBatch, kUnroll);
  std::vector<int32_t> inputs, targets;
  Tensor state;
  for (int step = 0; step < steps; ++step) {
    stream.next(inputs, targets);
    if (stream.starts_epoch()) state = Tensor();
    Tape tape;
    const Tensor logits = model(tensor_of<int32_t>({kUnroll, kBatch}, inputs), state);
    const Tensor loss = cross_entropy(logits, tensor_of<int32_t>({kUnroll, kBatch}, targets));
    tape.backward(loss);
    optimizer.step(/*lr=*/5e-3);
    if (step % 50 == 0 || step + 1 == steps)
      std::printf("step %4d  %.3f bits per character\n", step, loss.item() / std::log(2.0));
  }
}
