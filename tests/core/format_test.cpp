// Numbers as text: units, limits, rounding.
#include "tandem/core/format.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>

#include "tandem/core/math.h"

using namespace tandem;

TEST_CASE("format: bytes in the smallest unit below 1024") {
  CHECK(bytes_text(0) == "0 B");
  CHECK(bytes_text(1023) == "1023 B");
  CHECK(bytes_text(1024) == "1.0 KiB");
  CHECK(bytes_text(62914560) == "60.0 MiB");
  CHECK(bytes_text((size_t{1} << 30) - 1) == "1024.0 MiB");
  CHECK(bytes_text(size_t{1} << 30) == "1.00 GiB");
  CHECK(bytes_text(size_t{1} << 61) == "2147483648.00 GiB");
}

TEST_CASE("format: bytes may stay longer in a unit") {
  CHECK(bytes_text(9999, 10000) == "9999 B");
  CHECK(bytes_text(10000, 10000) == "9.8 KiB");
  CHECK(bytes_text(9999 * 1024, 10000) == "9999.0 KiB");
  CHECK(bytes_text(10000 * 1024, 10000) == "9.8 MiB");
}

TEST_CASE("format: durations in two units") {
  CHECK(duration_text(-3) == "0s");
  CHECK(duration_text(59.4) == "59s");
  CHECK(duration_text(59.5) == "1m00s");
  CHECK(duration_text(272) == "4m32s");
  CHECK(duration_text(3600) == "1h00m");
  CHECK(duration_text(7500) == "2h05m");
  CHECK(duration_text(360000) == "100h00m");
}

TEST_CASE("format: commas between groups of three digits") {
  CHECK(with_commas(0) == "0");
  CHECK(with_commas(999) == "999");
  CHECK(with_commas(1000) == "1,000");
  CHECK(with_commas(1234567) == "1,234,567");
  CHECK(with_commas(-123456) == "-123,456");
  CHECK(with_commas(-1234) == "-1,234");
  CHECK(with_commas(std::numeric_limits<int64_t>::min()) == "-9,223,372,036,854,775,808");
}

TEST_CASE("round_up: to the next multiple") {
  static_assert(round_up(int64_t{0}, 8) == 0);
  static_assert(round_up(int64_t{1}, 8) == 8);
  static_assert(round_up(int64_t{8}, 8) == 8);
  static_assert(round_up(size_t{513}, 512) == 1024);
  CHECK(round_up(17, 5) == 20);
}
