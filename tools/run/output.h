// The standard streams of the programs: open at the start, and written without loss or with an error.
#pragma once
#include <string_view>

namespace tandem {

// Opens /dev/null on each of the standard descriptors that is closed, so that no file of the program becomes its
// standard output. Reads from such an input and writes to such outputs fail. Call it before any file is opened.
void open_standard_streams();

// Lets the process live on when the reader of its output has left. For programs that train, before their first output.
void outlive_reader();

// Writes to the standard output at once. A failure is told once on stderr, and the program goes on: for training, whose
// results are files. If the reader of a pipe has left, later output is dropped; any other failure is an error for
// check_output(), too.
void say(std::string_view text);

// Error: something that was written to the standard output, by whatever means, has been lost.
void check_output();

}  // namespace tandem
