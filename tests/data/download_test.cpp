// Downloads from file:// and from a small HTTP server in this process that resumes, refuses, stalls or breaks
// the connection.
#include "tandem/data/download/download.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "tests/support/data_files.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

// Answers one connection at a time; the path of a GET chooses how:
//   /ranged   honours Range (416 when it begins at or past the end)
//   /whole    ignores Range and sends all, as 200
//   /breaks   honours Range, but closes the connection after 100,000 bytes of each answer
//   /stalls   sends 10 bytes and no more
//   /moved    redirects to /ranged
//   /endless  announces no length and sends until the connection is closed
//   /huge     announces a terabyte and sends the body
//   anything else: 404
class HttpServer {
 public:
  explicit HttpServer(std::string body)
      : body_(std::move(body)), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listener_, 16) == 0);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~HttpServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }

  std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }

  size_t sent_endlessly() const { return sent_; }

  // Returns the requests so far, each as "PATH first-byte USER-AGENT".
  std::vector<std::string> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void serve() {
    while (true) {
      const int connection = ::accept(listener_, nullptr, nullptr);
      if (connection < 0) return;
      answer(connection);
      ::close(connection);
    }
  }

  static std::string field(const std::string& request, const std::string& name) {
    const size_t begin = request.find("\r\n" + name);
    if (begin == std::string::npos) return "";
    const size_t value = begin + 2 + name.size();
    return request.substr(value, request.find("\r\n", value) - value);
  }

  void answer(int connection) {
    std::string request;
    char block[4096];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t count = ::recv(connection, block, sizeof block, 0);
      if (count <= 0) return;
      request.append(block, static_cast<size_t>(count));
    }
    const std::string path = request.substr(4, request.find(' ', 4) - 4);
    const std::string range = field(request, "Range: bytes=");
    const size_t first = range.empty() ? 0 : std::stoul(range);
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(path + " " + std::to_string(first) + " " + field(request, "User-Agent: "));
    }
    const std::string size = std::to_string(body_.size());
    if (path == "/moved") return send(connection, "302 Found", "Location: /ranged\r\n", "");
    if (path == "/whole") return send(connection, "200 OK", "", body_);
    if (path == "/stalls") return send(connection, "200 OK", "", body_, 10, true);
    if (path == "/huge")
      return void(send_all(connection, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n" + body_));
    if (path == "/endless") {
      send_all(connection, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
      while (send_all(connection, body_)) sent_ += body_.size();
      return;
    }
    if (path != "/ranged" && path != "/breaks") return send(connection, "404 Not Found", "", "no such page");
    if (first > 0 && first >= body_.size())
      return send(connection, "416 Range Not Satisfiable", "Content-Range: bytes */" + size + "\r\n",
                  "out of range");
    const std::string content_range = "Content-Range: bytes " + std::to_string(first) + "-" +
                                      std::to_string(body_.size() - 1) + "/" + size + "\r\n";
    send(connection, range.empty() ? "200 OK" : "206 Partial Content", range.empty() ? "" : content_range,
         body_.substr(first), path == "/breaks" ? 100'000 : std::string::npos);
  }

  // Announces the whole `body` but sends at most `limit` bytes of it.
  void send(int connection, const std::string& status, const std::string& fields, const std::string& body,
            size_t limit = std::string::npos, bool wait_for_hang_up = false) {
    const std::string message = "HTTP/1.1 " + status + "\r\n" + fields +
                                "Content-Length: " + std::to_string(body.size()) +
                                "\r\nConnection: close\r\n\r\n" + body.substr(0, limit);
    char byte;
    if (send_all(connection, message) && wait_for_hang_up) (void)!::recv(connection, &byte, 1, 0);
  }

  // Returns false if the other side has hung up.
  static bool send_all(int connection, const std::string& message) {
    size_t sent = 0;
    while (sent < message.size()) {
      const ssize_t count = ::send(connection, message.data() + sent, message.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return false;
      sent += static_cast<size_t>(count);
    }
    return true;
  }

  std::string body_;
  std::atomic<size_t> sent_ = 0;  // of /endless
  int listener_;
  uint16_t port_ = 0;
  std::mutex mutex_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

// Keeps a proxy of the environment from answering in place of the server.
struct NoProxy {
  ScopedEnv lower{"no_proxy", "*"};
  ScopedEnv upper{"NO_PROXY", "*"};
};

TEST_CASE("download: file URLs, whole and resumed") {
  TempDir dir;
  const std::string text = noisy_text(400'000);
  write_text(dir / "source", text);
  const std::string url = "file://" + (dir / "source").string();
  const fs::path part = dir / "part";

  DownloadResult result = download(url, part);
  CHECK(result.failure == "");
  CHECK_FALSE(result.resumed);
  CHECK(read_text(part) == text);

  for (const size_t there : {size_t{1}, size_t{123'456}, text.size()}) {
    write_text(part, text.substr(0, there));
    result = download(url, part);
    CHECK(result.failure == "");
    CHECK(result.resumed);
    CHECK(read_text(part) == text);
  }

  write_text(part, text + "x");  // longer than the file: nothing can be resumed
  result = download(url, part);
  CHECK(result.failure == "");
  CHECK_FALSE(result.resumed);
  CHECK(read_text(part) == text);

  write_text(part,
             "other beginning" + text.substr(15, 1000));  // only the caller's checksum can find this out
  result = download(url, part);
  CHECK(result.resumed);
  CHECK(read_text(part) == "other beginning" + text.substr(15));
}

TEST_CASE("download: failures are told, not thrown") {
  const NoProxy no_proxy;
  TempDir dir;
  CHECK(contains(download("file://" + (dir / "absent").string(), dir / "part").failure, "absent"));
  CHECK(contains(download("http://127.0.0.1:1/file.zip", dir / "part").failure, "127.0.0.1"));
  CHECK_FALSE(download("nonsense://somewhere", dir / "part").failure.empty());
  CHECK_FALSE(download("", dir / "part").failure.empty());
  write_text(dir / "source", "text");
  CHECK(contains(error_of([&] { download("file://" + (dir / "source").string(), dir / "no/folder/part"); }),
                 "cannot be written"));
}

TEST_CASE("download: HTTP, redirects, status codes, progress") {
  const NoProxy no_proxy;
  TempDir dir;
  const std::string text = noisy_text(1'000'000);
  HttpServer server(text);
  const fs::path part = dir / "part";

  int64_t last = 0, last_total = 0;
  DownloadOptions options;
  options.progress = [&](int64_t done, int64_t total) {
    CHECK(done >= last);
    last = done;
    last_total = total;
  };
  CHECK(download(server.url("/moved"), part, options).failure.empty());
  CHECK(read_text(part) == text);
  CHECK(last == 1'000'000);
  CHECK(last_total == 1'000'000);
  REQUIRE(server.requests().size() == 2);
  CHECK(contains(server.requests()[0], "/moved 0 tandem/"));
  CHECK(contains(server.requests()[1], "/ranged 0 tandem/"));

  fs::remove(part);
  CHECK(contains(download(server.url("/nothing"), part).failure, "404"));
  CHECK_FALSE(fs::exists(part));  // the body of the 404 is not taken for data
  CHECK(server.requests().size() == 3);
}

TEST_CASE("download: HTTP resumes with Range, and copes with servers that ignore it") {
  const NoProxy no_proxy;
  TempDir dir;
  const std::string text = noisy_text(1'000'000);
  HttpServer server(text);
  const fs::path part = dir / "part";

  write_text(part, text.substr(0, 600'000));
  int64_t first_seen = 0;
  DownloadOptions options;
  options.progress = [&](int64_t done, int64_t total) {
    if (first_seen == 0) first_seen = done;
    if (total != 0) CHECK(total == 1'000'000);
  };
  DownloadResult result = download(server.url("/ranged"), part, options);
  CHECK(result.failure == "");
  CHECK(result.resumed);
  CHECK(first_seen > 600'000);
  CHECK(read_text(part) == text);
  CHECK(contains(server.requests().back(), "/ranged 600000"));

  write_text(part, text.substr(0, 600'000));
  result = download(server.url("/whole"), part);
  CHECK(result.failure == "");
  CHECK_FALSE(result.resumed);
  CHECK(read_text(part) == text);

  write_text(part, text);  // the whole file is there already
  result = download(server.url("/ranged"), part);
  CHECK(result.failure == "");
  CHECK(result.resumed);
  CHECK(read_text(part) == text);

  write_text(
      part,
      text + "more");  // too long: reported as resumed, so that a wrong checksum makes the caller start over
  result = download(server.url("/ranged"), part);
  CHECK(result.failure == "");
  CHECK(result.resumed);
}

TEST_CASE("download: a connection that breaks off is taken up again") {
  const NoProxy no_proxy;
  TempDir dir;
  const std::string text = noisy_text(450'000);
  HttpServer server(text);
  DownloadResult result = download(server.url("/breaks"), dir / "part");
  CHECK(result.failure == "");
  CHECK_FALSE(result.resumed);  // all bytes came from this call
  CHECK(read_text(dir / "part") == text);
  CHECK(server.requests().size() == 5);

  fs::remove(dir / "part");
  DownloadOptions twice;
  twice.attempts = 2;
  result = download(server.url("/breaks"), dir / "part", twice);
  CHECK_FALSE(result.failure.empty());
  CHECK(read_text(dir / "part") == text.substr(0, 200'000));  // kept for the next run
}

TEST_CASE("download: a stalled transfer ends") {
  const NoProxy no_proxy;
  TempDir dir;
  HttpServer server(noisy_text(100'000));
  DownloadOptions options;
  options.stall_timeout_seconds = 1;
  options.attempts = 1;
  const DownloadResult result = download(server.url("/stalls"), dir / "part", options);
  CHECK_FALSE(result.failure.empty());
  CHECK(contains(result.failure, "too slow"));
}

TEST_CASE("download: a server that sends or announces too much is stopped, and nothing stays") {
  const NoProxy no_proxy;
  TempDir dir;
  const std::string text = noisy_text(100'000);
  HttpServer server(text);
  const fs::path part = dir / "part";
  DownloadOptions options;
  options.max_bytes = 1'000'000;
  for (const char* path : {"/endless", "/huge"})
    for (const bool resumed : {false, true}) {
      CAPTURE(path);
      if (resumed) write_text(part, text.substr(0, 1000));
      CHECK(contains(download(server.url(path), part, options).failure,
                     "it sends more than the 1000000 bytes"));
      CHECK_FALSE(fs::exists(part));
    }
  CHECK(server.sent_endlessly() < 100'000'000);

  options.max_bytes = static_cast<int64_t>(text.size());
  for (const char* path : {"/ranged", "/whole"}) {
    CHECK(download(server.url(path), part, options).failure == "");
    CHECK((read_text(part) == text));
    fs::remove(part);
  }
  write_text(part, text + "x");  // longer than the file can be, so it belongs to another one
  const DownloadResult result = download(server.url("/ranged"), part, options);
  CHECK(result.failure == "");
  CHECK_FALSE(result.resumed);
  CHECK((read_text(part) == text));
  options.max_bytes -= 1;
  CHECK(
      contains(download(server.url("/whole"), part, options).failure, "it sends more than the 99999 bytes"));
}

TEST_CASE("download: a symbolic link in place of the part is not followed") {
  TempDir dir;
  write_text(dir / "source", "text");
  write_text(dir / "target", "the user's");
  fs::create_symlink(dir / "target", dir / "part");
  CHECK(contains(error_of([&] { download("file://" + (dir / "source").string(), dir / "part"); }),
                 "part: cannot be written: it is a symbolic link"));
  CHECK(read_text(dir / "target") == "the user's");
}

TEST_CASE("download: URLs in messages hold no password, no token and no control character") {
  CHECK(url_for_message("https://host/a@b/file.zip") == "https://host/a@b/file.zip");
  CHECK(url_for_message("https://me:secret@host:80/f") == "https://***@host:80/f");
  CHECK(url_for_message("https://me:p@ss@host/f") == "https://***@host/f");
  CHECK(url_for_message("me:secret@host/f") == "***@host/f");
  CHECK(url_for_message("https://host/f?token=secret&x=a@b#part") == "https://host/f?***");
  CHECK(url_for_message("https://me:secret@host?a=1") == "https://***@host?***");
  CHECK(url_for_message("file:///a/b@c") == "file:///a/b@c");
  CHECK(url_for_message("https://host/\x1b[31m") == "https://host/\\x1b[31m");
  CHECK(url_for_message("") == "");
}

TEST_CASE("download: what the progress callback throws comes through, and the part stays") {
  const NoProxy no_proxy;
  TempDir dir;
  const std::string text = noisy_text(500'000);
  HttpServer server(text);
  struct Cancelled {};
  DownloadOptions options;
  options.progress = [](int64_t, int64_t) { throw Cancelled(); };
  CHECK_THROWS_AS(download(server.url("/ranged"), dir / "part", options), Cancelled);
  CHECK(fs::exists(dir / "part"));
  CHECK(download(server.url("/ranged"), dir / "part").failure.empty());
  CHECK(read_text(dir / "part") == text);
}

}  // namespace
}  // namespace tandem::testing
