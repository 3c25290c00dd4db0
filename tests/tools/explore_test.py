"""Tests of explore: the numbers of its page against evaluate's, what it refuses, and the page in a browser.

The arguments are the folder of the programs and that of the golden numbers.
"""
import base64
import json
import math
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAMS = pathlib.Path(sys.argv[1])
GOLDEN = pathlib.Path(sys.argv[2])
WEIGHTS = GOLDEN / "srupp" / "weights.safetensors"
# Clicks, changes every choice, and writes down what the page shows then. The page itself holds no code for tests.
CLICKS = """<script>
const seen = {}, find = (id) => document.getElementById(id);
function change(id, value) {
  find(id).value = value;
  find(id).dispatchEvent(new Event("change"));
}
function picture(id) {
  let sum = 0;
  for (const character of find(id).toDataURL()) sum = (sum * 31 + character.charCodeAt(0)) % 1000003;
  return sum;
}
document.querySelector('#text [data-token="20"]').click();
seen.chosen = document.querySelector("#text .chosen").dataset.token;
seen.score = find("score").textContent;
seen.likeliest = [...document.querySelectorAll("#token > table tr")].map((row) => row.children[0].textContent);
find("text").dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
seen.next = document.querySelector("#text .chosen").dataset.token;
find("text").dispatchEvent(new KeyboardEvent("keydown", {key: "End"}));
seen.last = document.querySelector("#text .chosen").dataset.token;
document.querySelector('#text [data-token="20"]').click();
seen.colours = [...find("colour").options].map((option) => option.value);
seen.backgrounds = seen.colours.map((value) => {
  change("colour", value);
  return [...document.querySelectorAll("#text [data-token]")].map((span) => span.style.background).join();
});
seen.hidden = ["attention", "series", "numbers"].filter((id) => find(id).hidden);
if (!find("attention").hidden) {
  seen.arcs = document.querySelectorAll("#arcs path").length;
  seen.remembered = document.querySelectorAll("#arcs path.from-memory").length;
  seen.heads = [...find("head").options].map((option) => option.value);
  seen.matrices = seen.heads.map((value) => { change("head", value); return picture("matrix"); });
  change("layer", (Number(find("layer").value) + 1) % find("layer").options.length);
  seen.other = picture("matrix");
  seen.entropies = picture("entropies");
  const box = find("matrix").getBoundingClientRect();
  find("matrix").dispatchEvent(new MouseEvent("click", {clientX: box.left + 1, clientY: box.top + 0.25 * box.height}));
  seen.query = document.querySelector("#text .chosen").dataset.token;
}
if (!find("series").hidden) {
  seen.values = [...find("value").options].map((_, i) => { change("value", i); return picture("units"); });
  change("value", 0);
  seen.orders = [...find("order").options].map((option) => { change("order", option.value); return picture("units"); });
  seen.curve = document.querySelector("#curve polyline").getAttribute("points").split(" ").length;
}
seen.numbers = document.querySelectorAll("#numbers .bar").length;
document.body.append(Object.assign(document.createElement("pre"), {id: "seen", textContent: JSON.stringify(seen)}));
</script>"""


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.S)[1])


def floats(text):
    raw = base64.b64decode(text)
    return struct.unpack(f"{len(raw) // 4}f", raw)


class Explore(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.text = self.folder / "text.txt"
        self.page = self.folder / "page.html"
        self.text.write_bytes((GOLDEN / "srupp" / "text.bin").read_bytes()[:120])

    def run_program(self, name, *arguments, expect=0):
        """Runs a program. Returns what it wrote on its standard output, or on stderr if it is to fail."""
        done = subprocess.run([PROGRAMS / name, *arguments], capture_output=True, text=True)
        self.assertEqual(done.returncode, expect, done.stderr)
        return done.stderr if expect else done.stdout

    def explore(self, *arguments, checkpoint=WEIGHTS, window=32, expect=0):
        return self.run_program("explore", checkpoint, f"--text={self.text}", f"--out={self.page}", "--device=cpu",
                                f"--window={window}", *arguments, expect=expect)

    def trained(self, model, text, **flags):
        """Trains a model for two steps, and returns its checkpoint."""
        source, run = self.folder / "source.txt", self.folder / f"run-{model}"
        source.write_text(text)
        flags = {"layers": 2, "d": 16, "steps": 2, "warmup": 1, "batch-size": 2, "unroll": 8, "device": "cpu", "precision": "f32",
                 "out": run, "model": model, "sample-bytes": 0} | flags
        self.run_program("train", source, *(f"--{name}={value}" for name, value in flags.items()), "--no-test")
        return run / "last.safetensors"

    def test_numbers_are_evaluates(self):
        told = self.explore()
        scored = json.loads(self.run_program("evaluate", f"--checkpoint={WEIGHTS}", f"--corpus={self.text}", "--split=all",
                                             "--window=32", "--json", "--device=cpu"))
        data = data_of(self.page)
        self.assertEqual(len(data["nats"]), scored["symbols"])
        self.assertAlmostEqual(sum(data["nats"]) / scored["total_nats"], 1, delta=1e-6)
        self.assertIn(f"bpc: {scored['bpc']:.4f}"[:-1], told)
        self.assertEqual(data["segments"], [0, 32, 64, 96])
        self.assertEqual("".join(data["tokens"]), self.text.read_text())
        for step, row in enumerate(data["likeliest"]):
            self.assertEqual(len(row), 10)
            if data["ranks"][step] <= 10:
                token, p = row[data["ranks"][step] - 1]
                self.assertEqual(token, data["ids"][step + 1])
                self.assertAlmostEqual(p / math.exp(-data["nats"][step]), 1, delta=0.01)

    def test_weights_and_gates_are_packed_to_the_promised_precision(self):
        self.explore()
        data = data_of(self.page)
        self.assertTrue(data["attention"])
        for layer in data["attention"]:
            codes, largest, at = base64.b64decode(layer["weights"]), floats(layer["largest"]), 0
            entropies = floats(layer["entropy"])
            for step, first in enumerate(layer["first"]):
                keys = step - first + 1
                self.assertEqual(first, max(0, step - 32))  # the memory of the window
                for head in range(layer["heads"]):
                    row, most = codes[at:at + keys], largest[step * layer["heads"] + head]
                    at += keys
                    self.assertEqual(max(row), 255)
                    self.assertAlmostEqual(sum(row) * most / 255, 1, delta=keys * most / 510 + 1e-6)
                    self.assertLessEqual(entropies[step * layer["heads"] + head], math.log2(keys) + 1e-5)
            self.assertEqual(at, len(codes))
        names = {series["name"] for series in data["series"]}
        self.assertEqual(names, {"sru_scan.forget", "sru_scan.reset", "sru_scan.cell"})
        for series in data["series"]:
            codes = base64.b64decode(series["values"])
            self.assertEqual(len(codes), len(data["nats"]) * series["stored"])
            if series["stored"] == series["units"]:
                self.assertEqual((min(codes), max(codes)), (0, 255))
            if series["name"] != "sru_scan.cell":
                self.assertTrue(0 <= series["low"] < series["high"] <= 1)
        self.assertEqual({number["name"] for number in data["numbers"]}, {"alpha"})
        self.explore("--units=3")
        self.assertEqual({series["stored"] for series in data_of(self.page)["series"]}, {3})

    def test_cuts_the_text_and_says_so(self):
        done = subprocess.run([PROGRAMS / "explore", WEIGHTS, f"--text={self.text}", f"--out={self.page}", "--device=cpu",
                               "--window=32", "--tokens=50", "--skip=10"], capture_output=True, text=True)
        self.assertIn("note: 50 of the 120 bytes", done.stderr)
        self.assertIn("from number 10 on", done.stderr)
        self.assertEqual("".join(data_of(self.page)["tokens"]), self.text.read_text()[10:60])

    def test_shows_any_bytes_and_cannot_be_left_by_a_text(self):
        text = "</script><b>&amp; caf\u00e9 \u20ac " * 30
        checkpoint = self.trained("lstm", text)
        self.text.write_text(text[:120])
        self.explore(checkpoint=checkpoint, window=16)
        content = self.page.read_text()
        self.assertEqual(content.count("</script>"), 2)
        data = data_of(self.page)
        self.assertEqual("".join(data["tokens"]), text[:120])
        self.assertEqual(data["tokens"][text.encode().index("\u00e9".encode()) + 1], "")
        self.assertEqual((data["attention"], data["numbers"]), ([], []))
        self.assertTrue(any(piece.startswith("\\x") for piece in data["pieces"].values()))

    def test_words(self):
        checkpoint = self.trained("srupp", "the cat saw the dog\nthe dog saw a cat\n" * 60, level="word",
                                  **{"d-projected": 8})
        self.text.write_text("the dog saw\nthe unheard-of cat\n")
        told = self.explore(checkpoint=checkpoint, window=4)
        self.assertIn("ppl: ", told)
        self.assertEqual(data_of(self.page)["tokens"], ["the", "dog", "saw", "\n", "the", "<unk>", "cat", "\n"])

    def test_subwords(self):
        """A character that is not in the vocabulary is three tokens of a byte, and is shown once."""
        checkpoint = self.trained("srupp", "the cat saw the dog\nthe dog saw a cat\n" * 60, level="subword",
                                  **{"d-projected": 8, "vocab-size": 275})
        text = "the dog \u20ac saw\x01 a cat\n"
        self.text.write_text(text)
        told = self.explore(checkpoint=checkpoint, window=4)
        data = data_of(self.page)
        self.assertEqual("".join(data["tokens"]), text.replace("\x01", "\\x01"))
        at = data["tokens"].index("\u20ac")
        self.assertEqual(data["tokens"][at + 1:at + 3], ["", ""])
        self.assertIn("\\x01", data["tokens"])
        count = len(text.encode()) - len(data["tokens"][0])
        self.assertIn("ppl: ", told)
        bits = float(re.search(rf"\nbpb: (.*), of {count} bytes\n", told)[1])
        self.assertAlmostEqual(bits, sum(data["nats"]) / math.log(2) / count, delta=1e-5)
        self.assertIn(" bpb over the ", data["facts"])

    def test_refuses(self):
        self.assertIn("nothing.txt", self.run_program("explore", WEIGHTS, "--text=nothing.txt", f"--out={self.page}",
                                                      "--window=32", expect=1))
        self.assertIn("nothing.safetensors", self.explore(checkpoint="nothing.safetensors", expect=1))
        self.assertIn("--tokens", self.explore("--tokens=1", expect=2))
        self.assertIn("--text", self.run_program("explore", WEIGHTS, f"--out={self.page}", "--window=32", expect=2))
        self.assertIn("--window", self.run_program("explore", WEIGHTS, f"--text={self.text}", f"--out={self.page}", expect=2))
        self.assertIn("leaves nothing to predict", self.explore("--skip=119", expect=1))
        self.text.write_bytes(b"\xff\xfe\xfd")
        self.assertIn("vocabulary", self.explore(expect=1))
        self.text.write_bytes(b"")
        self.assertIn("0 bytes split into 0", self.explore(expect=1))
        self.text.write_bytes(b"a")
        self.assertIn("needs at least 2", self.explore(expect=1))
        self.assertFalse(self.page.exists())
        self.text.write_bytes((GOLDEN / "srupp" / "text.bin").read_bytes()[:40])
        self.page = self.folder / "no" / "page.html"
        self.assertIn("page.html", self.explore(expect=1))
        self.page = self.folder
        self.assertIn("regular file", self.explore(expect=1))

    def browse(self, page, *what):
        browser = shutil.which("chromium")
        if not browser:
            self.skipTest("there is no chromium (Debian's chromium): the page is not looked at in a browser")
        return subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                               f"--user-data-dir={self.folder / 'profile'}", "--virtual-time-budget=2000", "--dump-dom",
                               *what, page.as_uri()], capture_output=True, text=True, timeout=120)

    def seen(self, *what):
        """Returns what a browser saw after the clicks on the page. Its console must stay empty."""
        clicked = self.folder / "clicked.html"
        clicked.write_text(self.page.read_text().replace("</body>", CLICKS + "</body>"))
        shown = self.browse(clicked, *what)
        self.assertEqual([line for line in shown.stderr.splitlines() if "CONSOLE" in line], [])
        self.assertNotIn("NaN", re.sub(r'<script.*?</script>', "", shown.stdout, flags=re.S))
        found = re.search(r'<pre id="seen">(.*?)</pre>', shown.stdout, re.S)
        self.assertTrue(found, "the clicks did not come to their end")
        return json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))

    def test_browser(self):
        """A browser draws everything, clicks and choices work, and its console stays empty."""
        self.explore()
        data, seen = data_of(self.page), self.seen()
        self.assertEqual((seen["chosen"], seen["next"], seen["last"]), ("20", "21", "119"))
        self.assertIn(f"rank {data['ranks'][19]}, {data['nats'][19] / math.log(2):.2f} bits", seen["score"])
        self.assertEqual(len(seen["likeliest"]), 10)
        self.assertEqual(seen["likeliest"][0][:2], f"{100 * data['likeliest'][20][0][1]:.2f}"[:2])
        self.assertEqual(seen["colours"], ["surprise", "looks", "received", "entropy"])
        self.assertEqual(len(set(seen["backgrounds"])), 4)
        self.assertEqual(seen["hidden"], [])
        self.assertGreater(seen["arcs"], 3)
        self.assertEqual(seen["remembered"], 0)  # token 20 lies in the first segment
        self.assertEqual(seen["heads"], ["mean", "max", "0"])
        self.assertNotEqual(seen["other"], seen["matrices"][-1])
        self.assertEqual(seen["query"], str(int(0.25 * 119)))
        self.assertEqual(len(set(seen["values"])), len(data["series"]))
        self.assertEqual(len(set(seen["orders"])), 3)
        self.assertEqual(seen["curve"], 119)
        self.assertEqual(seen["numbers"], len(data["numbers"]))
        self.seen("--force-dark-mode", "--window-size=360,640")
        # A script that fails is seen by this test.
        self.page.write_text(self.page.read_text().replace('"use strict";', '"use strict"; nothing.at.all;'))
        self.assertIn("ReferenceError", self.browse(self.page).stderr)

    def test_browser_shows_memory_and_hides_what_a_model_lacks(self):
        text = "the cat saw the dog\nand the dog saw a cat\n" * 60
        self.text.write_text(text[:60])
        self.explore(checkpoint=self.trained("transformer-xl", text, heads=2, set="init_std=0.2"), window=8)
        seen = self.seen()
        self.assertGreater(seen["remembered"], 0)
        self.assertEqual(len(set(seen["matrices"])), 4)
        self.assertEqual(seen["hidden"], ["series", "numbers"])
        self.explore(checkpoint=self.trained("lstm", text), window=8)
        seen = self.seen()
        self.assertEqual(seen["hidden"], ["attention", "numbers"])
        self.assertEqual(seen["colours"], ["surprise"])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    unittest.main(argv=sys.argv[:1])
