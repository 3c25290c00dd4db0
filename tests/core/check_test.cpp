// Messages of CHECK: values in place, nothing that a terminal obeys, and a length that can be read.
#include "tandem/core/check.h"

#include <string>

#include "tandem/core/error.h"

#undef CHECK  // of the test framework from here on
#include <doctest/doctest.h>

#include "tests/support/errors.h"

namespace tandem::testing {

TEST_CASE("check: the message holds the values, and control characters of files only as escapes") {
  CHECK(error_of([] { detail::fail("{} is {}; give {}", "x", 3, "\u00e4"); }) == "x is 3; give \u00e4");
  CHECK(error_of([] { detail::fail("two\n\tlines of {}", "\x1b[2Ja\xff\x7f"); }) ==
        "two\n\tlines of \\x1b[2Ja\\xff\\x7f");
}

TEST_CASE("check: a message that shows a long text keeps its beginning and its end") {
  const std::string message =
      error_of([] { detail::fail("file f: {} is wrong; give another", std::string(1 << 20, 'x')); });
  CHECK(message.size() < 9000);
  CHECK(message.starts_with("file f: xxx"));
  CHECK(message.ends_with("xxx is wrong; give another"));
  CHECK(contains(message, " bytes) ... "));
}

}  // namespace tandem::testing
