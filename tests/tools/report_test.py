"""Tests of tools/report: what it reads of runs, also of one that goes on, and the page that it writes.

The argument is the folder of the tools.
"""
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(TOOLS))
from compare.files import Failure, rows_of  # noqa: E402
from report_page import body, run as runs  # noqa: E402

LN2 = math.log(2)
STEP_TOKENS = 64


def step_row(step, loss, ms=500.0, **more):
    return {"step": step, "loss": loss, "bpc": None if loss is None else loss / LN2, "lr": step / 1000,
            "gradient_norm": 1.0 + step, "skipped": loss is None, "ms": ms, "tokens_per_second": STEP_TOKENS / ms * 1e3,
            "memory_bytes": 1000000 * step} | more


def dev_row(step, bits, **more):
    return {"step": step, "dev_bpc": bits, "dev_nats": bits * LN2, "symbols": 9} | more


class Recorded(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, name, rows, tail="", facts=None):
        """Writes the folder of a run, and returns its path."""
        run = self.folder / name
        run.mkdir(parents=True)
        (run / "metrics.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + tail)
        if facts is not None:
            (run / "run.json").write_text(json.dumps(facts))
        return run

    def report(self, *arguments, expect=0):
        done = subprocess.run([TOOLS / "report", *arguments], capture_output=True, text=True)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout if expect == 0 else done.stderr

    def whole_run(self, name="run", lr=0.008, first_loss=2.95):
        facts = {"starts": [{"time": "2026-11-22 10:00:00", "folder": "/home/me", "step": 0, "device": "cpu, test",
                             "ranks": 1, "command": ["train", "a file.txt", f"--lr={lr}"]}],
                 "parameters": 12345, "flops_per_token": 1e6,
                 "config": {"level": "byte", "recipe": {"lr": lr, "steps": 40, "schedule": "cosine"},
                            "model": {"model": "srupp", "d": 64}}}
        rows = []
        for step in range(1, 41):
            rows.append(step_row(step, first_loss if step == 1 else 3.0 - step / 20))
            if step % 10 == 0:
                rows += [dev_row(step, 4 - step / 20),
                         {"step": step, "prompt": "The <b>", "sample": f"tape\u2028at {step} & more"}]
        rows.append({"step": 40, "prompt": "The", "sample": "end", "weights_of_step": 40})
        rows.append({"step": 40, "test_bpc": 1.75, "test_nats": 1.75 * LN2, "symbols": 9})
        return self.write(name, rows, facts=facts)

    def test_reads_a_run_that_goes_on(self):
        rows = [{"step": 0, "unknown_train": 0.25, "unknown_dev": 0.5, "unknown_test": 0.125},
                step_row(1, 3.0), step_row(2, None), step_row(3, 2.0, ms=1000.0), dev_row(3, 2.5)]
        whole = json.dumps(step_row(4, 1.0))
        for cut in range(len(whole)):  # the last line may end anywhere
            shutil.rmtree(self.folder / "run", ignore_errors=True)
            run = runs.Run(self.write("run", rows, whole[:cut]))
            self.assertEqual(run.steps["step"], [1, 2, 3])
        self.assertEqual(run.steps["loss"], [3.0, None, 2.0])
        self.assertEqual((run.steps["seconds"], run.steps["tokens"]), ([0.5, 1.0, 2.0], [64, 128, 192]))
        self.assertEqual((run.skipped, run.level, run.label), (1, "byte", "run"))
        self.assertEqual((run.dev["seconds"], run.dev["tokens"]), ([2.0], [192]))
        self.assertEqual(run.best_dev(), (3, 2.5 * LN2))
        self.assertEqual(run.unknown, {"train": 0.25, "dev": 0.5, "test": 0.125})
        self.assertEqual(run.state(), "at step 3")
        first = json.dumps(step_row(1, 3.0)).encode()
        (run.folder / "metrics.jsonl").write_bytes(first + b'\n{"step":2,"sample":"\xc3')
        self.assertEqual(runs.Run(run.folder).steps["step"], [1])
        (run.folder / "metrics.jsonl").write_text("")
        self.report(run.folder)

    def test_rows_are_split_at_newlines_alone(self):
        run = self.write("run", [{"step": 1, "sample": "a\u2028b\x85c"}], "5\n[]\n")
        self.assertEqual(list(rows_of(run / "metrics.jsonl")), [{"step": 1, "sample": "a\u2028b\x85c"}])

    def test_scores_of_a_stop_are_not_final(self):
        run = runs.Run(self.write("run", [step_row(1, 3.0), dev_row(1, 2.0, at_stop=True),
                                          {"step": 1, "test_bpc": 2.5, "test_nats": 2.5 * LN2, "at_stop": True}]))
        self.assertEqual((run.dev["step"], run.test), ([], None))
        self.assertEqual((run.stop_dev, run.stop_test), (2 * LN2, 2.5 * LN2))
        self.assertIn("2.5000", body.report([run]))

    def test_early_stop(self):
        run = runs.Run(self.write("run", [step_row(1, 3.0), dev_row(1, 2.0),
                                          {"step": 1, "end": "early_stop", "evaluations": 3, "best_step": 7}],
                                  facts={"config": {"recipe": {"steps": 40}}}))
        self.assertEqual(run.state(), "stopped early at step 1 of 40")
        self.assertIn("its last 3 evaluations were no better than that of step 7", body.report([run]))

    def test_page(self):
        first, second = self.whole_run("first"), self.whole_run("second", 0.02)
        said = self.report(first, second, f"--out={self.folder / 'page.html'}")
        self.assertEqual(said, f"page: {self.folder / 'page.html'}\n")
        page = (self.folder / "page.html").read_text()
        for part in ("done, 40 steps", "2.0000 at 40", "1.7500", "12,345", "2,560", "2.56e+09", "20 s",
                     "train &#x27;a file.txt&#x27; --lr=0.008", "The &lt;b&gt;", "tape\u2028at 40 &amp; more",
                     "second, step 10", '<tr class="differs"><td>recipe.lr</td><td>0.008</td><td>0.02</td></tr>'):
            self.assertIn(part, page)
        self.assertNotIn('differs"><td>model.d', page)
        self.assertEqual(re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?(?!#)[a-z/]', page), [])  # nothing is fetched
        data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])
        self.assertEqual(data["axes"], ["step", "seconds", "tokens", "flops"])
        self.assertEqual(data["units"], ["bpc", "nats"])
        self.assertEqual([run["label"] for run in data["runs"]], ["first", "second"])
        self.assertEqual(len({run["colour"] for run in data["runs"]}), 2)
        self.assertEqual(data["runs"][0]["dev"]["step"], [10, 20, 30, 40])
        self.assertEqual(data["runs"][0]["steps"]["loss"]["mean"][39], 1.0)
        self.assertEqual([chart["measure"] for chart in data["charts"]],
                         ["loss", "lr", "gradient_norm", "tokens_per_second", "memory_bytes"])

    def test_default_page_and_names(self):
        first, second = self.whole_run("a/run"), self.whole_run("b/run")
        self.assertEqual(self.report(first), f"page: {first / 'report.html'}\n")
        self.report(first, second)
        page = (first / "report.html").read_text()
        self.assertIn("<td>a/run</td>", page)
        self.assertIn("<td>b/run</td>", page)
        self.assertIn("The runs have the same settings.", page)

    def test_long_runs_are_thinned(self):
        series = {"step": list(range(1, 10001)), "seconds": [step / 2 for step in range(1, 10001)],
                  "tokens": [step * 3 for step in range(1, 10001)],
                  "loss": [None if step == 20 else float(step) for step in range(1, 10001)], "lr": [None] * 10000}
        found = runs.thinned(series, ["loss", "lr"], 1000)
        self.assertEqual(found["step"], list(range(10, 10001, 10)))
        self.assertEqual(found["tokens"][0], 30)
        self.assertEqual([found["loss"][name][0] for name in ("mean", "low", "high")], [5.5, 1, 10])
        self.assertEqual([found["loss"][name][1] for name in ("mean", "low", "high")], [15, 11, 19])
        self.assertNotIn("lr", found)
        short = runs.thinned({name: values[:10] for name, values in series.items()}, ["loss"], 1000)
        self.assertEqual(short["step"], list(range(1, 11)))
        self.assertNotIn("low", short["loss"])
        odd = runs.thinned({name: values[:1001] for name, values in series.items()}, ["loss"], 1000)
        self.assertEqual((odd["step"][-1], len(odd["step"])), (1001, 501))

    def test_units(self):
        words = runs.Run(self.write("words", [{"step": 1, "loss": 2.0, "ppl": math.exp(2), "ms": 1.0}]))
        letters = runs.Run(self.write("letters", [step_row(1, 2.0)]))
        self.assertEqual(body.units_of([words]), ["ppl", "nats"])
        self.assertEqual(body.units_of([words, letters]), ["nats"])
        self.assertEqual(body.in_unit(2 * LN2, "bpc"), "2.0000")
        self.assertEqual(body.in_unit(1.0, "ppl"), f"{math.e:.4f}")
        self.assertEqual(body.in_unit(None, "ppl"), "-")

    def test_subwords_have_bits_per_byte(self):
        config = {"config": {"level": "subword", "recipe": {"lr": 1e-3, "steps": 2, "schedule": "cosine"}}}
        rows = [{"step": 1, "loss": 2.0, "ppl": math.exp(2), "ms": 1.0},
                {"step": 1, "dev_ppl": math.exp(2), "dev_nats": 2.0, "symbols": 9, "dev_bpb": 1.25, "bytes": 20},
                {"step": 2, "dev_ppl": math.exp(3), "dev_nats": 3.0, "symbols": 9, "dev_bpb": 1.5, "bytes": 20},
                {"step": 2, "test_ppl": math.exp(2), "test_nats": 2.0, "symbols": 9, "test_bpb": 1.125, "bytes": 20}]
        for name, facts in (("known", config), ("told", None)):  # rows tell it, too
            subwords = runs.Run(self.write(name, rows, facts=facts))
            self.assertEqual((subwords.level, body.units_of([subwords])), ("subword", ["ppl", "nats"]))
            self.assertEqual((subwords.bits_per_byte("dev"), subwords.bits_per_byte("test")), (1.25, 1.125))
        letters = runs.Run(self.write("letters", [step_row(1, 2.0), dev_row(1, 1.75)]))
        self.assertAlmostEqual(letters.bits_per_byte("dev"), 1.75)
        self.assertIsNone(letters.bits_per_byte("test"))
        page = body.report([subwords, letters])
        for part in ("best dev bits per byte", "1.2500", "1.1250", "1.7500"):
            self.assertIn(part, page)
        self.assertNotIn("bits per byte", body.report([letters]))

    def test_configuration_of_a_checkpoint(self):
        run = self.write("run", [step_row(1, 3.0)])
        header = json.dumps({"__metadata__": {"run": json.dumps({"seed": 5, "recipe": {"lr": 0.5},
                                                                 "model_config": '{"d": 32}'})}}).encode()
        (run / "last.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"data")
        self.assertEqual(runs.Run(run).config, {"seed": 5, "recipe.lr": 0.5, "model.d": 32})
        (run / "last.safetensors").write_bytes(b"no checkpoint at all")
        with self.assertRaisesRegex(Failure, "is not a checkpoint of a run"):
            runs.Run(run)

    def test_watches_a_run_until_it_is_over(self):
        run = self.write("run", [step_row(1, 3.0)], facts={"config": {"recipe": {"steps": 3}}})
        page = run / "report.html"
        watching = subprocess.Popen([TOOLS / "report", run, "--watch=0.05"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(watching.kill)
        self.assertEqual(watching.stdout.readline(), f"page: {page}\n")
        self.assertIn('"reload":0.05', page.read_text())
        with open(run / "metrics.jsonl", "a") as file:
            file.write(json.dumps(step_row(2, 2.0)) + "\n" + json.dumps(step_row(3, 1.0)) + "\n")
        self.assertEqual(watching.wait(timeout=60), 0)
        watching.stdout.close()
        self.assertIn("done, 3 steps", page.read_text())
        self.assertIn('"reload":0,', page.read_text())
        self.report(run, "--watch")  # it is over
        self.assertIn("not a number of seconds", self.report(run, "--watch=0", expect=2))

    def test_refuses(self):
        self.assertIn("holds no metrics.jsonl", self.report(self.folder, expect=1))
        self.assertIn("required", self.report(expect=2))
        run = self.whole_run()
        self.assertIn("cannot be written", self.report(run, "--out=/no/such/folder/page.html", expect=1))
        self.assertIn("one run is given twice", self.report(run, run, expect=2))
        (run / "run.json").write_text("{")
        self.assertIn("run.json: is not JSON", self.report(run, expect=1))

    def test_browser(self):
        """A browser draws every chart, and its console stays empty."""
        browser = shutil.which("chromium")
        if not browser:
            self.skipTest("there is no chromium (Debian's chromium): the page is not looked at in a browser")
        page = self.folder / "page.html"
        self.report(self.whole_run("first", first_loss=60), self.whole_run("second", 0.02), f"--out={page}")

        def browse(*what):
            return subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                                   f"--user-data-dir={self.folder / 'profile'}", "--virtual-time-budget=2000",
                                   *what, page.as_uri()], capture_output=True, text=True, timeout=120)
        shown = browse("--dump-dom")
        self.assertEqual([line for line in shown.stderr.splitlines() if "CONSOLE" in line], [])
        charts = re.findall(r'<section class="chart">.*?</section>', shown.stdout, re.S)
        self.assertEqual(len(charts), 5)
        for chart in charts:
            drawn = re.findall(r'<path d="(M[^"]+)"', chart)
            self.assertEqual(len(drawn), 4 if "bits per character" in chart else 2)
            self.assertNotIn("NaN", chart)
        self.assertEqual(charts[0].count("<circle"), 8)
        # The axis leaves out the loss from which the first steps fall.
        labels = re.findall(r'text-anchor="end">([0-9.]+)</text>', charts[0])
        self.assertTrue(labels)
        self.assertLess(max(map(float, labels)), 10)
        # A page that loads itself again, here once, shows what it has shown before.
        changing = page.read_text()
        for old, new in (('"reload":0', '"reload":0.3'),
                         ("setTimeout(() => {", "setTimeout(() => { state.axis = 'tokens';"),
                         ("location.reload();", "if (sessionStorage.again) return; sessionStorage.again = 1; "
                          "location.reload();")):
            self.assertEqual(changing.count(old), 1)
            changing = changing.replace(old, new)
        page.write_text(changing)
        again = browse("--dump-dom")
        self.assertEqual([line for line in again.stderr.splitlines() if "CONSOLE" in line], [])
        self.assertIn('aria-label="learning rate against tokens"', again.stdout)
        self.assertIn('aria-label="learning rate against steps"', shown.stdout)
        # A script that fails is seen by this test.
        page.write_text(page.read_text().replace('"use strict";', '"use strict"; nothing.at.all;'))
        self.assertIn("ReferenceError", browse("--dump-dom").stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
