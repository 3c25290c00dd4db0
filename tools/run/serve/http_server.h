// HttpServer: the connections of serve. http_server.cpp is the only file that includes cpp-httplib.
//
//     GET  /                     a page to type in
//     GET  /health               {"status": "ok", "running": 3, "waiting": 0}
//     GET  /v1/models            the one model that is served
//     POST /v1/completions       see completion_request.h
//
// Errors are OpenAI's error objects, of status 400, 403, 404, 413, 429, 500 or 503. An error that comes when an answer has
// begun is the last event of a stream; another answer is then cut off.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "tandem/data/vocabulary.h"
#include "tandem/tools/run/serve/batcher.h"
#include "tandem/tools/run/serve/completion_request.h"

namespace tandem {

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  int64_t port = 8000;         // 0: a free one
  int64_t max_body = 8 << 20;  // bytes of a request's body
  int64_t connections = 192;   // served at a time; further ones wait
  std::string model;           // the name of the model
  RequestLimits limits;
};

class HttpServer {
 public:
  // Takes the port. `vocabulary` and `batcher` must outlive the server. Error: the address cannot be listened on.
  HttpServer(const HttpServerOptions& options, const Vocabulary& vocabulary, Batcher& batcher);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;
  // Answers requests on threads of its own, each with a line on stderr.
  void start();
  // Returns the number of completions whose answers are not yet written.
  int64_t open_answers() const;
  // Closes all connections and ends the threads. The batcher must hold no sequence of theirs any more.
  void stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tandem
