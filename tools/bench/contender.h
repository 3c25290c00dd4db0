// Tandem's side of `bench compare`: a process of its own that is given one task on a checkpoint and a text,
// and tells what it measured in lines of JSON. pytorch_contender.py takes the same flags and tells the same:
//
//     train      {"first_loss": 4.6} as soon as the first step is done, then {"losses": [...], "ms": [...]}
//     evaluate   {"nats": 4.6, "ms": [...]}, of segments
//     generate   {"nats_1": 4.6, "ms_1": [...], "nats_32": ...}, by batch size, of time steps
//
// Losses and nats are what both sides must agree on: losses of every training step so far; means over the
// whole text; of the decoder, over the text that it goes on behind, read token by token.
#pragma once

namespace tandem {

// The program: `bench contender --task=train ...`. Returns the exit code.
int contender_main(int argc, char** argv);

}  // namespace tandem
