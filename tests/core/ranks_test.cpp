// Groups of ranks: the group of one, and what all groups build of exchange(), with ranks that are threads.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "tests/support/errors.h"
#include "tests/support/thread_ranks.h"

using namespace tandem;
using namespace tandem::testing;

TEST_CASE("ranks: without a launcher there is a group of one, which waits for nobody") {
  REQUIRE(!launched_as_rank());
  const std::shared_ptr<Ranks> ranks = join_ranks();
  CHECK(ranks->rank() == 0);
  CHECK(ranks->size() == 1);
  CHECK(ranks->leads());
  CHECK(ranks->local_size() == 1);
  CHECK(ranks->gather("a") == std::vector<std::string>{"a"});
  CHECK(ranks->largest(-3) == -3);
  CHECK(ranks->broadcast("text") == "text");
  std::vector<float> data{1, 2};
  ranks->all_reduce(std::span(data));
  CHECK(data == std::vector<float>{1, 2});
  ranks->wait_for_leader();
  ranks->leave();
}

TEST_CASE("ranks: texts, numbers and memory arrive in order at every rank") {
  for (const int size : {2, 3, 4}) {
    std::atomic<int> done = 0;
    run_as_ranks(size, [size, &done](const std::shared_ptr<Ranks>& ranks) {
      const int own = ranks->rank();
      CHECK(ranks->size() == size);
      CHECK(ranks->local_rank() == own);
      CHECK(ranks->local_size() == size);
      for (int round = 0; round < 3; ++round) {
        const std::vector<std::string> texts =
            ranks->gather(std::string(static_cast<size_t>(own), 'x'));  // one is empty
        for (int r = 0; r < size; ++r) CHECK(texts[static_cast<size_t>(r)].size() == static_cast<size_t>(r));
        CHECK(ranks->largest(10 * own - round) == 10 * (size - 1) - round);
        CHECK(ranks->broadcast(own == 0 ? "of rank 0" : "") == "of rank 0");
        std::vector<double> sums{1.0 * own, 1};
        ranks->all_reduce(std::span(sums));
        CHECK(sums == std::vector<double>{size * (size - 1) / 2.0, 1.0 * size});
        ranks->wait_for_leader();
      }
      ++done;
    });
    CHECK(done == size);
  }
}

TEST_CASE("ranks: a rank that does not answer is named, with what it is missing from") {
  std::string error;
  try {
    run_as_ranks(3, [](const std::shared_ptr<Ranks>& ranks) {
      ranks->set_timeout(0.05);
      ranks->set_activity("step 20");
      if (ranks->rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(600));
      if (ranks->rank() == 0) ranks->largest(0);
    });
  } catch (const RankLost& lost) {
    error = lost.what();
  }
  CHECK(contains(error, "rank 0 (test) has waited 0.05 s for rank 1 (test) in step 20"));
  CHECK(contains(error, "--resume"));
}

TEST_CASE("ranks: rank 0 may take longer than the deadline if it gives signs of life, and not without") {
  const auto work = [](bool gives_signs) {
    run_as_ranks(2, [gives_signs](const std::shared_ptr<Ranks>& ranks) {
      ranks->set_timeout(2);
      for (int i = 0; ranks->leads() && i < 40; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        if (gives_signs) ranks->still_working();
      }
      ranks->wait_for_leader();
      CHECK(ranks->largest(ranks->rank()) == 1);  // no sign is left over
    });
  };
  work(true);
  CHECK(contains(error_of([&work] { work(false); }), "rank 1 (test) has waited 2 s for rank 0 (test)"));
}

TEST_CASE("ranks: messages to oneself and to nobody are refused") {
  const std::shared_ptr<Ranks> ranks = Ranks::alone();
  char byte = 0;
  for (const int to : {-1, 0, 1}) {
    const Ranks::Message message{to, &byte, 1};
    CHECK(contains(error_of([&] {
                     ranks->exchange({&message, 1}, {});
                   }),
                   "cannot exchange messages with rank"));
    CHECK(contains(error_of([&] {
                     ranks->exchange({}, {&message, 1});
                   }),
                   "cannot exchange messages with rank"));
  }
}
