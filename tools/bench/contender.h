// Tandem's side of `bench vs-pytorch`: a process of its own that runs one task on a checkpoint and a text,
// and prints what it measured as lines of JSON. tools/pytorch/contender.py takes the same flags and prints
// the same:
//
//     train      {"first_loss": 4.6} as soon as the first step is done, then {"losses": [...], "ms": [...]}
//     evaluate   {"nats": 4.6, "ms": [...]}, of segments
//     generate   {"nats_1": 4.6, "ms_1": [...], "nats_32": ...}, by batch size, of time steps
//
// Both sides must agree on losses and nats: the losses of every training step so far; the mean loss of
// evaluation over the whole text; the mean loss of the decoder over its prompt, which it reads token by
// token.
#pragma once

namespace tandem {

// The program: `bench contender --task=train ...`. Returns the exit code.
int contender_main(int argc, char** argv);

}  // namespace tandem
