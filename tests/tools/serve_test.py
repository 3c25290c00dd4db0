"""Tests of serve over real connections: answers, streams, scores, many clients, clients that leave, wrong requests, limits,
signals, the page in a browser, and OpenAI's client where it is installed.

The argument is the folder of the built programs.
"""
import concurrent.futures
import contextlib
import http.client
import json
import math
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

import running_server

try:
    import openai
except ImportError:
    openai = None

TOOLS = pathlib.Path(sys.argv[1])
TEXT = "the tape reads the tensor of the gradient, n'est-ce pas? \u00e9t\u00e9: \u20ac 5.\n"


def run(*arguments):
    return subprocess.run(arguments, check=True, capture_output=True).stdout


def serve(checkpoint, *arguments):
    return running_server.Server(TOOLS / "serve", checkpoint, *arguments)


class ServeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        folder = pathlib.Path(cls.folder.name)
        cls.text = folder / "text.txt"
        cls.text.write_text(TEXT * 200)
        run(TOOLS / "train", cls.text, "--device=cpu", f"--out={folder / 'tiny'}", "--steps=150", "--max-steps=150", "--d=32",
            "--d-projected=8", "--layers=2", "--batch-size=4", "--unroll=16", "--eval-window=16", "--warmup=5",
            "--eval-batch-size=2", "--eval-every=30", "--lr=0.01")
        cls.checkpoint = folder / "tiny" / "best.safetensors"
        cls.server = serve(cls.checkpoint, "--max-batch=8")
        cls.addClassCleanup(cls.server.__exit__)

    def generate(self, prompt, *arguments):
        """Returns what generate adds to a prompt."""
        made = run(TOOLS / "generate", f"--checkpoint={self.checkpoint}", "--device=cpu",
                   *([f"--prompt={prompt}"] if prompt else []), *arguments)
        return made[len(prompt.encode()):]

    # --- answers

    def test_an_answer_has_the_form_of_the_api_and_the_text_of_generate(self):
        answer = self.server.complete("the tape", max_tokens=30, temperature=0)
        self.assertEqual(list(answer), ["id", "object", "created", "model", "choices", "usage"])
        self.assertEqual(answer["object"], "text_completion")
        self.assertEqual(answer["model"], "tiny/best")
        self.assertLess(abs(answer["created"] - time.time()), 60)
        choice, = answer["choices"]
        self.assertEqual(list(choice), ["text", "index", "logprobs", "finish_reason"])
        self.assertEqual((choice["index"], choice["logprobs"], choice["finish_reason"]), (0, None, "length"))
        self.assertEqual(answer["usage"], {"prompt_tokens": 8, "completion_tokens": 30, "total_tokens": 38})
        made = self.generate("the tape", "--bytes=30", "--temperature=0")
        self.assertEqual(choice["text"], made.decode(errors="replace"))
        # 16 tokens of temperature 1 if nothing else is said, and other ones each time.
        self.assertEqual(self.server.complete("the")["usage"]["completion_tokens"], 16)
        self.assertGreater(len({self.server.text("the", max_tokens=40) for _ in range(5)}), 1)

    def test_a_seed_gives_the_text_of_generate_and_each_choice_its_own(self):
        answer = self.server.complete(["the tape", ""], max_tokens=50, seed=7, n=2, temperature=1.5)
        self.assertEqual([choice["index"] for choice in answer["choices"]], [0, 1, 2, 3])
        for i, choice in enumerate(answer["choices"]):
            made = self.generate(["the tape", ""][i // 2], "--bytes=50", f"--seed={7 + i}", "--temperature=1.5")
            self.assertEqual(choice["text"], made.decode(errors="replace"))
        self.assertEqual(answer["usage"]["prompt_tokens"], 8)
        self.assertEqual(answer["usage"]["completion_tokens"], 200)

    def test_a_stop_text_ends_a_choice(self):
        text = self.server.text("the tape", max_tokens=300, seed=1)
        self.assertIn(" ", text)
        answer = self.server.complete("the tape", max_tokens=300, seed=1, stop=["never there", " "])
        self.assertEqual(answer["choices"][0]["text"], text.split(" ")[0])
        self.assertEqual(answer["choices"][0]["finish_reason"], "stop")
        self.assertLess(answer["usage"]["completion_tokens"], 300)

    def test_a_stream_gives_the_same_text_in_pieces_of_valid_utf8(self):
        fields = {"max_tokens": 200, "seed": 3, "n": 2, "temperature": 2.0}
        whole = self.server.complete("\u00e9t\u00e9", **fields)
        events = self.server.events("\u00e9t\u00e9", stream_options={"include_usage": True}, **fields)
        self.assertEqual(events.pop()["usage"], whole["usage"])
        for i in range(2):
            choices = [choice for event in events for choice in event["choices"] if choice["index"] == i]
            self.assertEqual("".join(choice["text"] for choice in choices), whole["choices"][i]["text"])
            self.assertEqual([choice["finish_reason"] for choice in choices], [None] * (len(choices) - 1) + ["length"])
        self.assertEqual(len({event["id"] for event in events}), 1)
        self.assertNotIn("usage", self.server.events("a", max_tokens=2)[-1])
        # How many tokens an event takes along depends on how fast they are made; all of a long text never come at once.
        self.assertGreater(len(self.server.events("a", max_tokens=4000)), 4)
        stopped = self.server.events("the tape", max_tokens=300, seed=1, stop=" ")
        self.assertEqual("".join(event["choices"][0]["text"] for event in stopped),
                         self.server.text("the tape", max_tokens=300, seed=1).split(" ")[0])

    def test_echo_and_logprobs_give_the_bits_of_evaluate(self):
        text = TEXT * 8
        (pathlib.Path(self.folder.name) / "short.txt").write_text(text)
        score = json.loads(run(TOOLS / "evaluate", f"--checkpoint={self.checkpoint}", "--device=cpu", "--split=all", "--json",
                               f"--corpus={pathlib.Path(self.folder.name) / 'short.txt'}"))
        answer = self.server.complete(text, max_tokens=0, echo=True, logprobs=2)
        choice = answer["choices"][0]
        self.assertEqual(choice["text"], text)
        logprobs = choice["logprobs"]
        scores = logprobs["token_logprobs"]
        self.assertIsNone(scores[0])
        self.assertEqual(len(scores), len(text.encode()))
        self.assertAlmostEqual(-sum(scores[1:]), score["total_nats"], delta=1e-5 * score["total_nats"])
        self.assertAlmostEqual(-sum(scores[1:]) / math.log(2) / (len(scores) - 1), score["bpc"], places=5)
        self.assertEqual((answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]), (len(scores), 0))
        # Tokens, offsets in characters, and the most probable tokens.
        self.assertIsNone(logprobs["top_logprobs"][0])
        at = 0
        for token, offset, top, own in zip(*(logprobs[name] for name in ("tokens", "text_offset", "top_logprobs",
                                                                         "token_logprobs"))):
            if not token.startswith("bytes:"):
                self.assertEqual(text[offset], token)
            self.assertGreaterEqual(offset, at)
            at = offset
            if top is not None:
                self.assertEqual(top[token], own)
                self.assertIn(len(top), (2, 3))
                self.assertLessEqual(own, max(top.values()))
                self.assertLess(sum(math.exp(x) for x in top.values()), 1 + 1e-6)
        self.assertEqual(at, len(text) - 1)
        # With tokens drawn, which have the same scores in a stream and as a prompt.
        drawn = self.server.complete("the tape", max_tokens=20, temperature=0, echo=True, logprobs=0)["choices"][0]
        self.assertNotIn("\ufffd", drawn["text"])  # half of a character would not be a prompt
        again = self.server.complete(drawn["text"], max_tokens=0, echo=True, logprobs=0)["choices"][0]
        for a, b in zip(drawn["logprobs"]["token_logprobs"][1:], again["logprobs"]["token_logprobs"][1:]):
            self.assertAlmostEqual(a, b, places=4)
        events = self.server.events("the tape", max_tokens=20, temperature=0, echo=True, logprobs=0)
        for name in ("tokens", "token_logprobs", "text_offset"):
            self.assertEqual([x for event in events for x in event["choices"][0]["logprobs"][name]],
                             drawn["logprobs"][name])
        self.assertEqual(self.server.text("the tape", max_tokens=0, echo=True), "the tape")
        alone = self.server.complete("\u00e9 a", max_tokens=3, logprobs=1)["choices"][0]["logprobs"]
        self.assertEqual(alone["text_offset"][0], 3)  # behind the prompt

    def test_models_health_and_page(self):
        self.assertEqual(self.server.get("/v1/models")["data"][0]["id"], "tiny/best")
        self.assertEqual(self.server.get("/v1/models/tiny/best")["object"], "model")
        self.assertEqual(self.server.get("/health"), {"status": "ok", "running": 0, "waiting": 0})
        with urllib.request.urlopen(self.server.url, timeout=60) as page:
            self.assertEqual(page.headers["Content-Type"], "text/html; charset=utf-8")
            self.assertIn("default-src 'none'", page.headers["Content-Security-Policy"])
            self.assertNotIn("Access-Control-Allow-Origin", page.headers)
            self.assertIn("<!doctype html>", page.read().decode())

    # --- several clients

    def test_32_clients_at_once_get_what_each_gets_alone(self):
        def ask(i):
            fields = {"max_tokens": 20 + 5 * i, "seed": i, "temperature": 1.2}
            if i % 2:
                return "".join(event["choices"][0]["text"] for event in self.server.events(TEXT[:2 * i], **fields))
            return self.server.text(TEXT[:2 * i], **fields)

        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            together = list(pool.map(ask, range(32)))
        self.assertEqual(together, [ask(i) for i in range(32)])

    def test_a_batch_of_32_serves_all(self):
        with serve(self.checkpoint, "--max-batch=32", "--name=many") as server:
            with concurrent.futures.ThreadPoolExecutor(32) as pool:
                answers = list(pool.map(lambda i: server.complete("the tape"[:i % 9], max_tokens=300, seed=i), range(32)))
                self.assertEqual({answer["usage"]["completion_tokens"] for answer in answers}, {300})
                futures = [pool.submit(server.complete, "a", max_tokens=1000) for _ in range(32)]
                most = 0
                while not all(future.done() for future in futures):
                    most = max(most, server.get("/health")["running"])
                    time.sleep(0.01)
            self.assertEqual(most, 32)
            self.assertEqual(server.name, "many")

    def test_a_client_that_leaves_frees_its_place(self):
        for fields in ({}, {"stream": False}, {"stream": False, "max_tokens": 10, "n": 1}):
            connection = self.server.open_stream("the tape", **{"max_tokens": 4096, "n": 8, **fields})
            deadline = time.monotonic() + 10
            while fields.get("max_tokens") is None and self.server.get("/health")["running"] < 8:
                self.assertLess(time.monotonic(), deadline)
            if not fields:
                self.assertIn(b"200 OK", connection.recv(4096))
            start = time.monotonic()
            connection.close()
            self.assertTrue(self.server.wait_until_idle())
            self.assertLess(time.monotonic() - start, 2)
        self.assertIn("the client left", self.server.errors())

    def test_a_client_that_does_not_read_stalls_nobody(self):
        slow = [self.server.open_stream("the tape", max_tokens=4096, logprobs=5) for _ in range(4)]
        start = time.monotonic()
        for i in range(5):
            self.assertEqual(self.server.complete("a", max_tokens=50)["usage"]["completion_tokens"], 50)
        self.assertLess(time.monotonic() - start, 20)
        for connection in slow:
            connection.close()
        self.assertTrue(self.server.wait_until_idle())

    # --- what is wrong

    def refused(self, body, status, *words, **more):
        code, answer = self.server.post(body, **more)
        self.assertEqual(code, status, answer)
        self.assertEqual(list(answer["error"]), ["message", "type", "param", "code"])
        for word in words:
            self.assertIn(word, answer["error"]["message"])
        return answer["error"]

    def test_malformed_requests_are_refused_with_what_is_wrong(self):
        for body in (b"", b"{", b"\xff\xfe", b"null", b"[]", b"[" * 100000, b'{"a":' * 100000, b'{"prompt": "\xc3"}',
                     b'{"prompt": "a", "max_tokens": 1e999}', "{}".encode("utf-16"), b"prompt=a&max_tokens=5",
                     b'{"prompt": "a", "prompt": "a"}', b"\0" * 1000):
            self.refused(body, 400, "the request" if body != b"{}" else "prompt")
        error = self.refused({"prompt": "a", "max_tokens": "many"}, 400, '"max_tokens" is "many"', "from 0 to 4096")
        self.assertEqual((error["param"], error["type"], error["code"]), ("max_tokens", "invalid_request_error", None))
        self.refused({"prompt": "a", "max_tokens": 5000}, 400, '"max_tokens" is 5000')
        self.refused({"prompt": 5}, 400, '"prompt" is 5')
        self.refused({}, 400, '"prompt" is missing')
        self.refused({"prompt": "a\x01"}, 400, "byte 0x01 at offset 1")
        self.assertEqual(self.refused({"prompt": "a" * 65537}, 400, "65537 bytes")["code"], "context_length_exceeded")
        self.assertEqual(self.refused({"prompt": "a", "model": "gpt-3"}, 404, "gpt-3", "tiny/best")["code"],
                         "model_not_found")
        self.refused({"prompt": "a"}, 404, "/v1/chat/completions", path="/v1/chat/completions")
        self.refused({"prompt": "a"}, 404, path="/health")
        for path in ("/v1/completions", "/nothing", "/..%2f..%2fetc/passwd"):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                self.server.get(path)
            self.assertEqual(caught.exception.code, 404)
            caught.exception.close()
        self.refused({"prompt": "a"}, 400, "form", headers={"Content-Type": "multipart/form-data; boundary=x"})
        self.assertIn(b" 400 ", self.server.raw(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\n"
                                                b"Content-Length: 15\r\n\r\n{\"prompt\": \"a\"}"))
        self.assertEqual(self.server.post({"prompt": "a", "model": "tiny/best"})[0], 200)
        self.assertEqual(self.server.post({"prompt": "a"}, headers={"Content-Type": "text/plain"})[0], 200)

    def test_pages_of_other_sites_are_refused(self):
        self.refused({"prompt": "a"}, 403, "other sites", headers={"Origin": "https://example.com"})
        self.refused({"prompt": "a"}, 403, "localhost", headers={"Host": "example.com"})
        self.refused({"prompt": "a"}, 403, "localhost", headers={"Host": "127.example.com"})
        self.assertEqual(self.server.post({"prompt": "a"}, headers={"Origin": self.server.url})[0], 200)
        self.assertEqual(self.server.post({"prompt": "a"}, headers={"Host": "localhost:1"})[0], 200)

    def test_bodies_that_are_too_long_are_refused(self):
        with serve(self.checkpoint, "--max-body=2000", "--max-tokens=5", "--max-prompt=10") as server:
            body = json.dumps({"prompt": "a", "user": "x" * 3000}).encode()
            self.assertEqual(server.post(body)[0], 413)

            def pieces():
                for _ in range(100):
                    yield body
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("POST", "/v1/completions", pieces(), encode_chunked=True,
                               headers={"Transfer-Encoding": "chunked"})
            answer = connection.getresponse()
            self.assertEqual(answer.status, 413)
            self.assertIn("2000 bytes", json.load(answer)["error"]["message"])
            # The same connection goes on, also after a path that is unknown.
            for path, status in (("/v1/completions", 200), ("/unknown", 404), ("/v1/completions", 200)):
                connection.request("POST", path, json.dumps({"prompt": "a", "max_tokens": 5}))
                answer = connection.getresponse()
                answer.read()
                self.assertEqual(answer.status, status)
            connection.close()
            self.assertEqual(server.post({"prompt": "a", "max_tokens": 6})[0], 400)
            self.assertEqual(server.post({"prompt": "a" * 11})[0], 400)

    def test_garbage_on_the_connection_does_no_harm(self):
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        for data in (b"\r\n\r\n", b"nonsense\r\n\r\n", os.urandom(2000), b"GET / HTTP/9.9\r\n\r\n", b"GET  HTTP/1.1\r\n\r\n",
                     b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", b"A" * 100000,
                     head + b"X: " + b"a" * 100000 + b"\r\n\r\n", head + b"Content-Length: -5\r\n\r\n{}",
                     head + b"Content-Length: 99999999999999999999\r\n\r\n{}", head + b"Content-Length: abc\r\n\r\n{}",
                     head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
                     head + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
                     head + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!",
                     head + b"Content-Encoding: br\r\nContent-Length: 9\r\n\r\nnot brotli",
                     head + b"Content-Type: multipart/form-data\r\nContent-Length: 2\r\n\r\n{}",
                     head + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
                     head + b"Content-Length: 50\r\n\r\n{"):
            self.server.raw(data)
        self.assertEqual(self.server.complete("a", max_tokens=3)["usage"]["completion_tokens"], 3)

    def test_a_full_queue_refuses_and_goes_on(self):
        with serve(self.checkpoint, "--max-batch=1", "--queue=2", "--max-tokens=1000000") as server:
            self.assertEqual(server.post({"prompt": "a", "n": 3})[0], 400)
            running = server.open_stream("a", max_tokens=1000000)
            running.recv(100)

            def read_on():  # a client that reads nothing for some seconds is given up
                with contextlib.suppress(OSError):
                    while running.recv(1 << 16):
                        pass
            reader = threading.Thread(target=read_on)
            reader.start()
            waiting = [server.open_stream("t", max_tokens=1) for _ in range(2)]
            deadline = time.monotonic() + 30
            while server.get("/health") != {"status": "ok", "running": 1, "waiting": 2}:
                self.assertLess(time.monotonic(), deadline, server.get("/health"))
                time.sleep(0.01)
            status, answer = server.post({"prompt": "c"})
            self.assertEqual((status, answer["error"]["code"]), (429, "rate_limit_exceeded"))
            self.assertEqual(answer["error"]["type"], "rate_limit_error")
            running.shutdown(socket.SHUT_RDWR)
            reader.join()
            running.close()
            for connection in waiting:
                connection.close()
            self.assertTrue(server.wait_until_idle())
            self.assertEqual(server.post({"prompt": "c"})[0], 200)

    # --- start and end

    def test_signals_end_the_server(self):
        for one in (signal.SIGTERM, signal.SIGINT):
            with serve(self.checkpoint) as server:
                server.complete("a", max_tokens=3)
                idle = http.client.HTTPConnection("127.0.0.1", server.port)
                idle.connect()
                start = time.monotonic()
                self.assertEqual(server.stop(one), 0)
                self.assertLess(time.monotonic() - start, 3)
                idle.close()

    def test_running_requests_may_end_and_are_cut_after_the_grace(self):
        with serve(self.checkpoint, "--grace=20") as server, concurrent.futures.ThreadPoolExecutor() as pool:
            answer = pool.submit(server.complete, "a", max_tokens=500)
            while server.get("/health")["running"] == 0 and not answer.done():
                pass
            self.assertEqual(server.stop(), 0)
            self.assertEqual(answer.result()["usage"]["completion_tokens"], 500)
        with serve(self.checkpoint, "--grace=0.2", "--max-tokens=1000000") as server:
            stream = server.open_stream("a", max_tokens=1000000)
            stream.recv(100)
            start = time.monotonic()
            self.assertEqual(server.stop(), 3)
            self.assertLess(time.monotonic() - start, 5)
            self.assertIn("1 choices were not complete", server.errors())
            rest = b""
            with contextlib.suppress(OSError):
                while part := stream.recv(65536):
                    rest += part
            stream.close()
            self.assertIn(b"the server is stopping", rest)

    def test_wrong_usage_and_an_address_that_is_taken(self):
        def ends(*arguments):
            made = subprocess.run([TOOLS / "serve", *arguments], capture_output=True, text=True, timeout=60)
            self.assertEqual(made.stdout, "")
            return made.returncode, made.stderr
        taken = ends(self.checkpoint, "--device=cpu", f"--port={self.server.port}")
        self.assertEqual(taken[0], 1)
        self.assertIn(f"error: cannot listen on 127.0.0.1:{self.server.port}: Address already in use", taken[1])
        self.assertEqual(ends(self.checkpoint, "--port=70000")[0], 2)
        self.assertEqual(ends(self.checkpoint, "--max-batch=0")[0], 2)
        self.assertEqual(ends()[0], 2)
        self.assertEqual(ends(self.text)[0], 1)

    def test_the_log_has_a_line_for_each_request(self):
        with serve(self.checkpoint) as server:
            server.complete("ate", max_tokens=5)
            server.post({"prompt": 1})
            server.raw(b"GET /\x1b[31m HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            server.stop()
            lines = [line for line in server.errors().splitlines() if line.startswith("127.0.0.1 ")]
        self.assertRegex("\n".join(lines), r"(?m)^127\.0\.0\.1 POST /v1/completions 200, 3 \+ 5 tokens, \d+ ms$")
        self.assertIn("127.0.0.1 POST /v1/completions 400", lines)
        self.assertNotIn("\x1b", "".join(lines))

    # --- clients that people use

    @unittest.skipUnless(openai, "there is no OpenAI client for this python3; pip install openai")
    def test_openai_client(self):
        client = openai.OpenAI(base_url=self.server.url + "/v1", api_key="none", max_retries=0)
        self.assertEqual([model.id for model in client.models.list()], ["tiny/best"])
        self.assertEqual(client.models.retrieve("tiny/best").owned_by, "tandem")
        made = client.completions.create(model="tiny/best", prompt="the tape", max_tokens=40, seed=5, logprobs=2, echo=True)
        self.assertEqual(made.choices[0].text, "the tape" + self.server.text("the tape", max_tokens=40, seed=5))
        self.assertEqual(len(made.choices[0].logprobs.tokens), 48)
        self.assertEqual(made.usage.total_tokens, 48)
        stream = client.completions.create(model="tiny/best", prompt="the tape", max_tokens=40, seed=5, stream=True)
        self.assertEqual("the tape" + "".join(part.choices[0].text for part in stream), made.choices[0].text)
        with self.assertRaises(openai.BadRequestError) as caught:
            client.completions.create(model="tiny/best", prompt="a", max_tokens=-1)
        self.assertEqual(caught.exception.param, "max_tokens")
        with self.assertRaises(openai.NotFoundError):
            client.completions.create(model="other", prompt="a")
        # A client that leaves a stream.
        with client.completions.create(model="tiny/best", prompt="a", max_tokens=4096, stream=True) as stream:
            next(iter(stream))
        self.assertTrue(self.server.wait_until_idle())

        def ask(i):
            return client.completions.create(model="tiny/best", prompt="the", max_tokens=50, seed=i).choices[0].text
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            together = list(pool.map(ask, range(32)))
        self.assertEqual(together, [ask(i) for i in range(32)])

    def test_browser(self):
        """A browser shows the page, whose script streams an answer, and its console stays empty."""
        browser = shutil.which("chromium")
        if not browser:
            self.skipTest("there is no chromium (Debian's chromium): the page is not looked at in a browser")
        server = self.server

        # The page as the server gives it, with a script that types.
        typed = running_server.page_with(server, b"at('prompt').value = 'the tape'; at('seed').value = 5; "
                                                 b"at('max_tokens').value = 60; at('temperature').value = 1; run();")
        self.addCleanup(typed.server_close)
        self.addCleanup(typed.shutdown)
        for budget in (4000, 40000, 400000):  # ms of the browser's own clock, which runs on while a slow server computes
            shown = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                                    f"--user-data-dir={pathlib.Path(self.folder.name) / 'profile'}",
                                    f"--virtual-time-budget={budget}", "--dump-dom",
                                    f"http://127.0.0.1:{typed.server_port}/"],
                                   capture_output=True, text=True, timeout=120)
            if "60 tokens" in shown.stdout:
                break
        self.assertEqual([line for line in shown.stderr.splitlines() if "CONSOLE" in line], [])
        self.assertIn('<span id="model">tiny/best</span>', shown.stdout)
        self.assertIn("60 tokens", shown.stdout)
        made = server.text("the tape", seed=5, max_tokens=60)
        escaped = made.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        self.assertIn(f'<span class="prompt">the tape</span>{escaped}</pre>', shown.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
