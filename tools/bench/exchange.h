// `bench exchange`: what it costs ranks to add their gradients, by size, exactly and by MPI's own reduction.
#pragma once

namespace tandem {

// The program: `bench exchange ...`. Returns the exit code.
int exchange_main(int argc, char** argv);

}  // namespace tandem
