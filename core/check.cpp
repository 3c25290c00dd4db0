// Throwing an Error with a formatted message.
#include "tandem/core/check.h"

#include "tandem/core/utf8.h"

namespace tandem::detail {
namespace {

constexpr size_t kLongest = 8192, kKeptAtEnd = 1024;

// Leaves out the middle of a message that shows a long text from a file. Its end says what to do.
std::string without_middle(const std::string& message) {
  if (message.size() <= kLongest) return message;
  const size_t left_out = message.size() - kLongest;
  return fmt::format("{} ... ({} bytes) ... {}", message.substr(0, kLongest - kKeptAtEnd), left_out,
                     message.substr(message.size() - kKeptAtEnd));
}

}  // namespace

// Messages show text from files, so characters that a terminal would obey or not show become \xHH.
void throw_error(fmt::string_view format, fmt::format_args args) {
  throw Error(printable(without_middle(fmt::vformat(format, args))));
}

}  // namespace tandem::detail
