// Streams, events and captures, as streams.cpp and graphs.cpp see them.
#pragma once
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "internal.h"

namespace tandem::simulator {

// Work recorded between cudaStreamBeginCapture and cudaStreamEndCapture.
struct Capture {
  cudaStream_t origin;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  bool spoilt = false;
  bool ended = false;
  std::vector<Operation> operations;
  std::map<cudaStream_t, bool>
      joined;  // other streams that take part: whether the origin has waited for them since
};

// One cudaEventRecord.
struct Mark {
  cudaStream_t stream;
  std::shared_ptr<Capture> capture;  // if the stream was capturing
  bool done = false;
  int queries = 0;
  std::chrono::steady_clock::time_point time{};
};

bool is_known(cudaStream_t stream);  // a stream that exists, or the legacy one
void reach(const Mark& mark);        // runs the mark's stream up to it
std::vector<cudaStream_t>& all_streams();

}  // namespace tandem::simulator

struct CUstream_st {
  bool blocking = false;  // the legacy stream waits for it
  bool first = false;     // of all that were created
  int queries = 0;
  std::deque<tandem::simulator::Operation> waiting;
  std::shared_ptr<tandem::simulator::Capture> capture;
};

struct CUevent_st {
  bool timed = true;
  std::shared_ptr<tandem::simulator::Mark> mark;  // of its last record, null before
};
