// With how many threads loops run after one of them has lost its core.
#include "tandem/core/thread_backoff.h"

#include <doctest/doctest.h>

namespace tandem::testing {
namespace {

using Time = ThreadBackoff::Clock::time_point;
using std::chrono::milliseconds;
using std::chrono::seconds;

const Time kStart = Time(seconds(1000));

}  // namespace

TEST_CASE("thread backoff: all threads run until one loses its core, and again after a pause") {
  ThreadBackoff backoff;
  CHECK(backoff.allowed(4, kStart) == 4);
  backoff.core_lost(4, kStart);
  CHECK(backoff.withheld() == 1);
  CHECK(backoff.allowed(4, kStart + milliseconds(19)) == 3);
  CHECK(backoff.allowed(4, kStart + milliseconds(20)) == 4);
  CHECK(backoff.withheld() == 0);
}

TEST_CASE(
    "thread backoff: a core that is lost again soon is tried after twice the pause, at last once a second") {
  ThreadBackoff backoff;
  Time now = kStart;
  backoff.core_lost(2, now);
  for (const int pause : {20, 40, 80, 160, 320, 640, 1000, 1000}) {
    CAPTURE(pause);
    CHECK(backoff.allowed(2, now + milliseconds(pause - 1)) == 1);
    now += milliseconds(pause);
    CHECK(backoff.allowed(2, now) == 2);
    now += milliseconds(5);
    backoff.core_lost(2, now);
  }
  // A core that was kept for long is lost by chance.
  now += seconds(1);
  CHECK(backoff.allowed(2, now) == 2);
  now += seconds(10);
  backoff.core_lost(2, now);
  CHECK(backoff.allowed(2, now + milliseconds(20)) == 2);
}

TEST_CASE("thread backoff: of several threads each loss withholds one more, but never the caller") {
  ThreadBackoff backoff;
  for (const int left : {3, 2, 1, 1}) {
    backoff.core_lost(4, kStart);
    CHECK(backoff.allowed(4, kStart) == left);
  }
  CHECK(backoff.withheld() == 3);
  // They come back one by one.
  Time now = kStart;
  for (const int running : {2, 3, 4, 4}) {
    now += seconds(2);
    CHECK(backoff.allowed(4, now) == running);
  }
  CHECK(backoff.allowed(1, now) == 1);
}

}  // namespace tandem::testing
