// The page at /: a text to type, which the model continues. It is one file, and asks for nothing from elsewhere.
#pragma once

namespace tandem {

extern const char* const kPage;        // HTML
extern const char* const kPagePolicy;  // its Content-Security-Policy: what it may load and connect to

}  // namespace tandem
