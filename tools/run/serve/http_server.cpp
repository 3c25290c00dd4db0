// Routes, answers and the log.
#include "tandem/tools/run/serve/http_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>
#include <thread>

#include "tandem/core/check.h"
#include "tandem/core/utf8.h"
#include "tandem/tools/run/embedded_files.h"
#include "tandem/tools/run/serve/completion.h"
#include "tandem/tools/run/serve/completion_json.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;
using Reply = httplib::Server::HandlerResponse;

constexpr const char* kJson = "application/json";
// The Content-Security-Policy of the page: it is one file, and asks for nothing from elsewhere.
constexpr const char* kPagePolicy =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
// A waiting connection looks this often whether its client is still there.
constexpr std::chrono::milliseconds kLookAround{50};

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// Writes a line on stderr, in one piece.
void log_line(const std::string& line) {
  const std::string whole = line + "\n";
  std::fwrite(whole.data(), 1, whole.size(), stderr);
}

std::string request_text(const httplib::Request& request) {
  return fmt::format("{} {} {}", request.remote_addr, printable_start(request.method, 20),
                     printable_start(request.path, 100));
}

void set_error(httplib::Response& response, int status, const std::string& message,
               const std::string& param = "", const std::string& code = "") {
  response.status = status;
  response.set_content(json_text(error_json(status, message, param, code)), kJson);
}

std::string new_id() {
  std::random_device device;
  return fmt::format("cmpl-{:08x}{:08x}{:08x}", device(), device(), device());
}

// Returns the host of "host:port" or "[host]:port".
std::string host_of(const std::string& address) {
  if (address.starts_with('[')) return address.substr(0, address.find(']') + 1);
  return address.substr(0, address.find(':'));
}

// Returns whether a host is this machine. A name such as 127.example.com is not.
bool is_loopback(const std::string& host) {
  in_addr address{};
  const bool is_address = inet_pton(AF_INET, host.c_str(), &address) == 1;
  return host == "localhost" || host == "[::1]" || host == "::1" || (is_address && host.starts_with("127."));
}

// An answer to a completion that is being written, counted while it lives.
struct Answer {
  Answer(std::atomic<int64_t>& open, std::string request, Clock::time_point start,
         std::shared_ptr<Completion> completion)
      : open(open), request(std::move(request)), start(start), completion(std::move(completion)) {
    ++open;
  }
  ~Answer() { --open; }

  std::atomic<int64_t>& open;
  std::string request;  // for the log
  Clock::time_point start;
  std::shared_ptr<Completion> completion;
};

// Writes what is new of an answer. Returns false if the client is gone or the completion failed.
bool write_news(Completion& completion, httplib::DataSink& sink) {
  completion.wait(kLookAround);
  if (!sink.is_writable()) return false;
  const bool done = completion.done();  // before events() gives out the last ones
  std::string news;
  if (completion.request().stream)
    news = completion.events();
  else if (done && completion.error().empty())
    news = completion.response();
  if (!news.empty() && !sink.write(news.data(), news.size())) return false;
  if (!done) return true;
  if (!completion.error().empty() && !completion.request().stream) return false;
  sink.done();
  return true;
}

// Ends an answer, written or not: nobody waits for its sequences any more.
void finish(const Answer& answer, bool written) {
  Completion& completion = *answer.completion;
  const bool done = completion.done();
  const std::string error = completion.error();
  completion.cancel();
  std::string outcome = written ? "200" : done ? "200, cut off" : "200, the client left";
  if (done && !error.empty()) outcome = "200, failed: " + printable_start(error);
  log_line(fmt::format("{} {}, {} + {} tokens, {:.0f} ms", answer.request, outcome,
                       completion.prompt_tokens(), completion.completion_tokens(),
                       milliseconds_since(answer.start)));
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(const HttpServerOptions& options, const Vocabulary& vocabulary, Batcher& batcher)
      : options_(options), vocabulary_(vocabulary), batcher_(batcher) {
    set_limits();
    set_routes();
    bind();
  }

  ~Impl() { stop(); }

  int port() const { return port_; }
  int64_t open_answers() const { return open_; }

  void start() {
    listener_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running())
      std::this_thread::yield();  // before that, the library's stop() does nothing
  }

  void stop() {
    if (!listener_.joinable()) return;
    server_.stop();
    close_connections();
    listener_.join();
  }

 private:
  void set_limits() {
    server_.new_task_queue = [this] {
      return new httplib::ThreadPool(static_cast<size_t>(options_.connections));
    };
    server_.set_payload_max_length(static_cast<size_t>(options_.max_body));
    server_.set_keep_alive_max_count(1000);
    server_.set_keep_alive_timeout(2);  // in seconds, as those that follow
    server_.set_read_timeout(10);
    server_.set_write_timeout(10);
    server_.set_tcp_nodelay(true);
    server_.set_socket_options([this](socket_t socket) {
      // Without the library's SO_REUSEPORT, by which two servers would share a port unnoticed.
      const int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
      socket_ = socket;
    });
  }

  void bind() {
    errno = 0;
    const int port = static_cast<int>(options_.port);
    port_ = port > 0 ? (server_.bind_to_port(options_.host, port) ? port : -1)
                     : server_.bind_to_any_port(options_.host);
    TANDEM_CHECK(port_ > 0,
                 "cannot listen on {}:{}{}; give another --host or --port, or --port=0 for a free one",
                 options_.host, port, errno != 0 ? fmt::format(": {}", std::strerror(errno)) : "");
    constexpr int kBacklog = 1024;  // the library's is 5, which delays clients that come at once
    ::listen(socket_, kBacklog);
  }

  // Ends all reads and writes of the connections, so that their threads end.
  void close_connections() const {
    for (int file = 3; file < 65536; ++file) {
      sockaddr_storage address{};
      socklen_t size = sizeof address;
      if (getpeername(file, reinterpret_cast<sockaddr*>(&address), &size) == 0 &&
          (address.ss_family == AF_INET || address.ss_family == AF_INET6))
        ::shutdown(file, SHUT_RDWR);
    }
  }

  void set_routes() {
    using httplib::ContentReader;
    using httplib::Request;
    using httplib::Response;
    server_.set_pre_routing_handler([this](const Request& request, Response& response) {
      return is_foreign(request, response) ? Reply::Handled : Reply::Unhandled;
    });
    server_.Get("/", [](const Request&, Response& response) {
      response.set_header("Content-Security-Policy", kPagePolicy);
      response.set_content(std::string(embedded_file("serve_page/page.html")), "text/html; charset=utf-8");
    });
    server_.Get("/health", [this](const Request&, Response& response) {
      const Batcher::Load load = batcher_.load();
      response.set_content(
          json_text({{"status", "ok"}, {"running", load.running}, {"waiting", load.waiting}}), kJson);
    });
    server_.Get("/v1/models", [this](const Request&, Response& response) {
      nlohmann::ordered_json models = nlohmann::ordered_json::array();
      models.push_back(model_json());
      response.set_content(json_text({{"object", "list"}, {"data", models}}), kJson);
    });
    server_.Get("/v1/models/(.+)", [this](const Request& request, Response& response) {
      if (request.matches[1] != options_.model) return refuse_model(request.matches[1], response);
      response.set_content(json_text(model_json()), kJson);
    });
    server_.Post("/v1/completions", [this](const Request& request, Response& response,
                                           const ContentReader& read) { answer(request, response, read); });
    // The body of any other request is dropped, since the library would keep any amount of it.
    const auto unknown = [](const Request& request, Response& response, const ContentReader& read) {
      if (!request.is_multipart_form_data()) read([](const char*, size_t) { return true; });
      response.status = 404;
    };
    server_.Post(".*", unknown);
    server_.Put(".*", unknown);
    server_.Patch(".*", unknown);
    server_.Delete(".*", unknown);
    server_.set_error_handler(
        [this](const Request& request, Response& response) { explain(request, response); });
    server_.set_exception_handler([](const Request&, Response& response, std::exception_ptr) {
      set_error(response, 500, "the server failed on this request");
    });
    server_.set_logger([](const Request& request, const Response& response) {
      if (!response.content_provider_) log_line(fmt::format("{} {}", request_text(request), response.status));
    });
  }

  // Refuses requests that a page of another site has made: such a site could otherwise use a server that is only meant
  // for this machine, by its visitors' browsers.
  bool is_foreign(const httplib::Request& request, httplib::Response& response) const {
    const std::string host = request.get_header_value("Host"), origin = request.get_header_value("Origin");
    const bool foreign_origin = !origin.empty() && !origin.ends_with("://" + host);
    const bool foreign_host = is_loopback(options_.host) && !host.empty() && !is_loopback(host_of(host));
    if (!foreign_origin && !foreign_host) return false;
    set_error(response, 403,
              foreign_origin
                  ? "requests of pages of other sites are refused"
                  : "this server answers to localhost and 127.0.0.1 only; start it with --host for others");
    return true;
  }

  nlohmann::ordered_json model_json() const {
    return {{"id", options_.model}, {"object", "model"}, {"created", 0}, {"owned_by", "tandem"}};
  }

  void refuse_model(const std::string& name, httplib::Response& response) const {
    set_error(response, 404,
              fmt::format("the model \"{}\" is not served here; there is \"{}\"", printable_start(name),
                          options_.model),
              "model", "model_not_found");
  }

  // Gives errors of the library an error object.
  void explain(const httplib::Request& request, httplib::Response& response) const {
    if (!response.body.empty()) return;
    const int status = response.status;
    set_error(response, status,
              status == 404   ? fmt::format("there is no {} {}", printable_start(request.method, 20),
                                            printable_start(request.path, 100))
              : status == 413 ? too_long()
                              : "the request is malformed");
  }

  std::string too_long() const {
    return fmt::format("the body of the request is longer than {} bytes", options_.max_body);
  }

  // Reads the body. Returns false if it was refused.
  bool read_body(const httplib::Request& request, httplib::Response& response,
                 const httplib::ContentReader& read, std::string& body) const {
    if (request.is_multipart_form_data()) {
      set_error(response, 400, "the body is a form; it must be JSON");
      return false;
    }
    const auto most = static_cast<size_t>(options_.max_body);
    bool fits = true;
    const bool whole = read([&](const char* data, size_t size) {
      // The library checks the length that a request states; others, and what they unpack to, are checked here.
      // A body that is too long is read to its end all the same, so that the next request of the connection is found.
      fits = fits && body.size() + size <= most;
      if (fits) body.append(data, size);
      return true;
    });
    if (fits && whole) return true;
    if (!fits || response.status == 413)
      set_error(response, 413, too_long());
    else
      set_error(response, 400, "the body of the request is incomplete");
    return false;
  }

  void answer(const httplib::Request& request, httplib::Response& response,
              const httplib::ContentReader& read) {
    const Clock::time_point start = Clock::now();
    std::string body;
    if (!request.ranges.empty())
      return set_error(response, 400, "parts of an answer cannot be asked for (Range)");
    if (!read_body(request, response, read, body)) return;
    try {
      const CompletionRequest asked = parse_completion_request(body, options_.limits);
      if (!asked.model.empty() && asked.model != options_.model) return refuse_model(asked.model, response);
      const std::shared_ptr<Completion> completion =
          Completion::make(asked, vocabulary_, options_.model, new_id());
      switch (batcher_.add(completion->sequences())) {
        case Batcher::Admission::accepted:
          return begin(std::make_shared<Answer>(open_, request_text(request), start, completion), response);
        case Batcher::Admission::full:
          response.set_header("Retry-After", "1");
          return set_error(response, 429, "too many requests are waiting; try again later", "",
                           "rate_limit_exceeded");
        case Batcher::Admission::closed:
          return set_error(response, 503, "the server is stopping");
      }
    } catch (const RequestError& error) {
      set_error(response, error.status, error.what(), error.param, error.code);
    }
  }

  // Lets the answer be written as it comes: only then does the library tell whether the client is still there.
  static void begin(const std::shared_ptr<Answer>& answer, httplib::Response& response) {
    const bool stream = answer->completion->request().stream;
    response.set_header("Cache-Control", "no-cache");
    response.set_chunked_content_provider(
        stream ? "text/event-stream" : kJson,
        [answer](size_t, httplib::DataSink& sink) { return write_news(*answer->completion, sink); },
        [answer](bool written) { finish(*answer, written); });
  }

  const HttpServerOptions options_;
  const Vocabulary& vocabulary_;
  Batcher& batcher_;
  std::atomic<int64_t> open_ = 0;
  httplib::Server server_;
  socket_t socket_ = -1;
  int port_ = 0;
  std::thread listener_;
};

HttpServer::HttpServer(const HttpServerOptions& options, const Vocabulary& vocabulary, Batcher& batcher)
    : impl_(std::make_unique<Impl>(options, vocabulary, batcher)) {}

HttpServer::~HttpServer() = default;

int HttpServer::port() const {
  return impl_->port();
}

void HttpServer::start() {
  impl_->start();
}

int64_t HttpServer::open_answers() const {
  return impl_->open_answers();
}

void HttpServer::stop() {
  impl_->stop();
}

}  // namespace tandem
