"""Tests of tools/compare_models: the page and tables that it writes, resuming a comparison, and what it refuses.

The arguments are the paths of compare_models and of train.
"""
import csv
import html.parser
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

COMPARE, TRAIN = sys.argv[1:3]
SMALL = ["srupp+d=64+d-projected=32+layers=1", "sru+d=32+layers=1"]
STEP_TOKENS = 4 * 16
FLAGS = ["--flag=batch-size=4", "--flag=unroll=16", "--flag=eval-bytes=500", "--flag=log-every=10"]


def text_of(words, seed):
    draw = random.Random(seed)
    known = ["".join(draw.choice("aeioulnrst") for _ in range(draw.randint(2, 7))) for _ in range(50)]
    return "".join(draw.choice(known) + draw.choice("      \n") for _ in range(words))


class Page(html.parser.HTMLParser):
    """Counts the tags of a page, and collects the cells of the table and the links to anything outside the page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self.fetched, self.in_cell = {}, [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.in_cell = tag == "td"
        self.fetched += [value for name, value in attributes
                         if name in ("src", "href", "xlink:href") and not value.startswith("#")]

    def handle_data(self, data):
        if self.in_cell:
            self.cells.append(data)
        self.in_cell = False


class Compare(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.out = self.folder / "out"
        self.corpus = self.folder / "text.txt"
        self.corpus.write_text(text_of(5000, 1))

    def compare(self, *arguments, expect=0):
        run = subprocess.run([COMPARE, f"--train={TRAIN}", f"--corpus={self.corpus}", f"--out={self.out}", *FLAGS,
                              *arguments], capture_output=True, text=True)
        self.assertEqual(run.returncode, expect, run.stdout + run.stderr)
        return run.stdout if expect == 0 else run.stderr

    def rows(self, name):
        return list(csv.DictReader((self.out / name).read_text().splitlines()))

    def describe(self, model, *flags):
        command = [TRAIN, str(self.corpus), f"--model={model}", "--batch-size=4", "--unroll=16", *flags, "--describe"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def metrics_of(self, model):
        return next(self.out.glob(f"{model}*/metrics.jsonl"))

    def test_tokens(self):
        steps = 30
        said = self.compare(*SMALL, f"--tokens={steps * STEP_TOKENS}")
        facts = {SMALL[0]: self.describe("srupp", "--d=64", "--d-projected=32", "--layers=1"),
                 SMALL[1]: self.describe("sru", "--d=32", "--layers=1")}
        table, curves = self.rows("table.csv"), self.rows("curves.csv")
        self.assertEqual({row["model"] for row in table}, set(SMALL))
        tests = [float(row["test bpc"]) for row in table]
        self.assertEqual(tests, sorted(tests))
        for row in table:
            own, points = facts[row["model"]], [p for p in curves if p["model"] == row["model"]]
            self.assertEqual(int(row["parameters"]), own["parameters"])
            self.assertEqual((own["batch_size"], own["unroll"], own["tokens_per_step"]), (4, 16, STEP_TOKENS))
            self.assertEqual(float(row["training tokens"]), steps * STEP_TOKENS)
            self.assertAlmostEqual(float(row["training FLOPs"]) / (steps * own["flops_per_step"]), 1)
            self.assertGreater(float(row["training seconds"]), 0)
            self.assertGreaterEqual(len(points), 12)
            self.assertEqual(float(row["dev bpc"]), min(float(p["dev bpc"]) for p in points))
            self.assertTrue(1 < float(row["test bpc"]) < 8)
            self.assertIn(row["model"], said)
        page = Page((self.out / "index.html").read_text())
        self.assertEqual(page.tags["svg"], 3)
        self.assertEqual(page.tags["tr"], 1 + len(SMALL))
        self.assertEqual(page.cells[0], table[0]["model"])
        self.assertEqual(page.fetched, [])

        # The same command again trains nothing; a run that was stopped goes on; another budget is another folder's.
        before = {model: self.metrics_of(model).read_text() for model in ("srupp", "sru_")}
        again = self.compare(*SMALL, f"--tokens={steps * STEP_TOKENS}")
        self.assertEqual({model: self.metrics_of(model).read_text() for model in before}, before)
        self.assertEqual(again.splitlines()[-1], said.splitlines()[-1])
        lines = before["srupp"].splitlines(keepends=True)
        self.metrics_of("srupp").write_text("".join(line for line in lines if "test_nats" not in line))
        self.compare(*SMALL, f"--tokens={steps * STEP_TOKENS}")
        self.assertIn("test_nats", self.metrics_of("srupp").read_text())
        self.assertEqual(self.rows("table.csv"), table)
        self.assertIn("another --out", self.compare(*SMALL, "--tokens=1k", expect=1))
        self.corpus.write_bytes(self.corpus.read_bytes().replace(b"e", b"a"))
        self.assertIn("sha256", self.compare(*SMALL, f"--tokens={steps * STEP_TOKENS}", expect=1))

    def test_flops_and_time(self):
        own = self.describe("sru", "--d=32", "--layers=1")
        self.compare(SMALL[1], f"--flops={25 * own['flops_per_step']}")
        self.assertEqual(float(self.rows("table.csv")[0]["training tokens"]), 25 * STEP_TOKENS)
        self.out = self.folder / "timed"
        self.compare(SMALL[1], "--budget=0.5s")
        self.assertGreater(float(self.rows("table.csv")[0]["training tokens"]), 0)

    def test_words(self):
        self.compare(SMALL[1], f"--tokens={10 * STEP_TOKENS}", "--flag=level=word")
        self.assertGreater(float(self.rows("table.csv")[0]["test perplexity"]), 1)

    def test_refusals(self):
        self.assertIn("no-such-model", self.compare(SMALL[1], "no-such-model", "--tokens=1k", expect=2))
        self.assertIn("named twice", self.compare(SMALL[1], SMALL[1], "--tokens=1k", expect=2))
        self.assertIn("not a quantity", self.compare(SMALL[1], "--tokens=many", expect=2))
        self.assertIn("required", self.compare(SMALL[1], expect=2))
        self.assertFalse(self.out.exists())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
