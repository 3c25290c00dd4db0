// Throwing an Error with a formatted message.
#include "core/check.h"

namespace tandem::detail {

void throw_error(fmt::string_view format, fmt::format_args args) {
  throw Error(fmt::vformat(format, args));
}

}  // namespace tandem::detail
