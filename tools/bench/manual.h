// The manuals of bench and of its subcommands, which --help prints below the flags.
#pragma once

namespace tandem {

extern const char* const kBenchManual;
extern const char* const kVersusManual;  // bench vs-pytorch
extern const char* const kLengthManual;
extern const char* const kExchangeManual;  // bench length

}  // namespace tandem
