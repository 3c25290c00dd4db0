"""A running serve, and the ways in which tests ask it."""
import contextlib
import http.server
import json
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request


class Server:
    """serve on a free port, until the end of a with statement."""

    def __init__(self, program, checkpoint, *arguments):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([program, checkpoint, "--device=cpu", "--port=0", *arguments],
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.errors())
        self.name = line.split()[1]
        self.port = int(line.strip("/\n").rsplit(":", 1)[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.log.close()

    def errors(self):
        self.log.seek(0)
        return self.log.read()

    def stop(self, with_signal=signal.SIGTERM):
        """Sends a signal and returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        code = self.process.wait(timeout=20)
        self.process.stdout.close()
        return code

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def post(self, body, path="/v1/completions", headers=None):
        """Returns the status and the answer to a body, which is bytes or what JSON can hold."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers or {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def complete(self, prompt, **fields):
        status, answer = self.post({"prompt": prompt, **fields})
        if status != 200:
            raise AssertionError(f"{status}: {answer}")
        return answer

    def text(self, prompt, **fields):
        return self.complete(prompt, **fields)["choices"][0]["text"]

    def open_stream(self, prompt, **fields):
        """Sends a request by a socket of its own, which it returns."""
        body = json.dumps({"prompt": prompt, "stream": True, **fields}).encode()
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" %
                           (len(body), body))
        return connection

    def events(self, prompt, **fields):
        """Returns the objects of a stream, without its end."""
        body = json.dumps({"prompt": prompt, "stream": True, **fields}).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + "/v1/completions", body), timeout=120) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            parts = answer.read().decode().split("\n\n")
        assert parts[-2:] == ["data: [DONE]", ""], parts[-2:]
        return [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]

    def raw(self, data):
        """Sends bytes and returns what comes back until the server closes the connection, or for half a second."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as connection:
            answer = b""
            with contextlib.suppress(OSError):
                connection.sendall(data)
                while part := connection.recv(65536):
                    answer += part
            return answer

    def wait_until_idle(self):
        deadline = time.monotonic() + 10
        while self.get("/health")["running"] + self.get("/health")["waiting"] > 0:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def page_with(server, script):
    """Returns a running HTTP server that passes requests on, and gives the page one more script."""

    class PassingOn(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with urllib.request.urlopen(server.url + self.path) as answer:
                self.reply(answer.read().replace(b"</script>", script + b"</script>"), answer.headers["Content-Type"])

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with urllib.request.urlopen(server.url + self.path, body) as answer:
                self.reply(answer.read(), answer.headers["Content-Type"])

        def reply(self, body, kind):
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    passing_on = http.server.ThreadingHTTPServer(("127.0.0.1", 0), PassingOn)
    threading.Thread(target=passing_on.serve_forever, daemon=True).start()
    return passing_on
