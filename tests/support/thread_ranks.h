// Ranks that are threads of one process, for tests of what several ranks compute. Processes are tested under mpirun.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tandem/core/ranks.h"

namespace tandem::testing {

// The messages that were sent and not yet received, which the threads of one group share.
struct Mailboxes {
  std::mutex mutex;
  std::condition_variable arrived;
  std::map<std::pair<int, int>, std::deque<std::vector<char>>> boxes;  // by sender and receiver
  bool failed = false;                                                 // a thread has ended by an exception
};

class ThreadRanks : public Ranks {
 public:
  ThreadRanks(int rank, int size, Mailboxes& mail)
      : Ranks(rank, std::vector<std::string>(static_cast<size_t>(size), "test")), mail_(mail) {}

 private:
  void transfer(std::span<const Message> sends, std::span<const Message> receives) override {
    std::unique_lock lock(mail_.mutex);
    for (const Message& message : sends) {
      const char* const data = static_cast<const char*>(message.data);
      mail_.boxes[{rank(), message.rank}].emplace_back(data, data + message.bytes);
    }
    mail_.arrived.notify_all();
    for (const Message& message : receives) {
      auto& box = mail_.boxes[{message.rank, rank()}];
      const auto ready = [this, &box] { return !box.empty() || mail_.failed; };
      const double limit = timeout() > 0 ? timeout() : 1e6;
      const bool in_time = mail_.arrived.wait_for(lock, std::chrono::duration<double>(limit), ready);
      if (!in_time || box.empty()) fail_waiting({message.rank});
      if (box.front().size() != message.bytes)
        throw Error("a message of " + std::to_string(box.front().size()) + " bytes was sent, and one of " +
                    std::to_string(message.bytes) + " is received");
      if (message.bytes > 0) std::memcpy(message.data, box.front().data(), message.bytes);
      box.pop_front();
    }
  }

  void sum(float* data, size_t count) override { add_all(data, count); }
  void sum(double* data, size_t count) override { add_all(data, count); }
  template <class T>
  void add_all(T* data, size_t count) {
    std::vector<std::string> all =
        gather(std::string(reinterpret_cast<const char*>(data), count * sizeof(T)));
    std::fill(data, data + count, T(0));
    for (const std::string& bytes : all) {
      std::vector<T> values(count);
      std::memcpy(values.data(), bytes.data(), bytes.size());
      for (size_t i = 0; i < count; ++i) data[i] += values[i];
    }
  }

  Mailboxes& mail_;
};

// Runs `body` once for each of `size` ranks, at the same time. Throws what a rank threw first.
inline void run_as_ranks(int size, const std::function<void(const std::shared_ptr<Ranks>&)>& body) {
  Mailboxes mail;
  std::exception_ptr first;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&mail, &first, &body, rank, size] {
      try {
        const auto ranks = std::make_shared<ThreadRanks>(rank, size, mail);
        ranks->set_timeout(120);
        body(ranks);
      } catch (...) {
        const std::lock_guard lock(mail.mutex);
        if (!mail.failed) first = std::current_exception();
        mail.failed = true;
        mail.arrived.notify_all();
      }
    });
  for (std::thread& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace tandem::testing
