"""Tests of tools/compare_models: the page and tables that it writes, resuming a comparison, and what it refuses.

The arguments are the paths of compare_models and of train.
"""
import csv
import html.parser
import json
import math
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import unittest

COMPARE, TRAIN = sys.argv[1:3]
SMALL = ["srupp+d=64+d-projected=32+layers=1", "sru+d=32+layers=1"]
STEP_TOKENS = 4 * 16
FLAGS = ["--flag=batch-size=4", "--flag=unroll=16", "--flag=eval-bytes=500", "--flag=log-every=10", "--step-rounds=1"]


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
        self.flags = FLAGS
        self.corpus = self.folder / "text.txt"
        self.corpus.write_text(text_of(5000, 1))

    def compare(self, *arguments, expect=0):
        run = subprocess.run([COMPARE, f"--train={TRAIN}", f"--corpus={self.corpus}", f"--out={self.out}", *self.flags,
                              *arguments], capture_output=True, text=True)
        self.assertEqual(run.returncode, expect, run.stdout + run.stderr)
        return run.stdout if expect == 0 else run.stderr

    def rows(self, name):
        return list(csv.DictReader((self.out / name).read_text().splitlines()))

    def describe(self, model, *flags):
        command = [TRAIN, str(self.corpus), f"--model={model}", "--batch-size=4", "--unroll=16", *flags, "--describe"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def step_times(self, label):
        measurement, = json.loads((self.out / "step_times.json").read_text())["measurements"]
        return next(row["ms"] for row in measurement["models"] if row["label"] == label)

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
            times = self.step_times(row["model"])
            self.assertEqual(int(row["parameters"]), own["parameters"])
            self.assertEqual((own["batch_size"], own["unroll"], own["tokens_per_step"]), (4, 16, STEP_TOKENS))
            self.assertEqual(float(row["training tokens"]), steps * STEP_TOKENS)
            self.assertAlmostEqual(float(row["training FLOPs"]) / (steps * own["flops_per_step"]), 1)
            self.assertAlmostEqual(float(row["training seconds"]), steps * times[0] / 1e3)
            self.assertEqual((len(times), float(row["ms a step"])), (1, times[0]))
            self.assertGreaterEqual(len(points), 12)
            self.assertEqual(float(row["dev bpc"]), min(float(p["dev bpc"]) for p in points))
            self.assertTrue(1 < float(row["test bpc"]) < 8)
            self.assertIn(row["model"], said)
        page = Page((self.out / "index.html").read_text())
        self.assertEqual(page.tags["svg"], 3)
        self.assertEqual(page.cells[0], table[0]["model"])
        self.assertEqual(page.fetched, [])

        # Every model is held against every threshold, and reaches that of its own end.
        reach = self.rows("reach.csv")
        self.assertEqual(len(reach), 4 * len(SMALL))
        for row in reach:
            if row["threshold"] == f"{row['model']} at its end":
                self.assertLessEqual(float(row["tokens"]), steps * STEP_TOKENS)
            if row["model"] != SMALL[0] and row["time ratio"]:
                self.assertAlmostEqual(float(row["time ratio"]),
                                       float(row["tokens ratio"]) * float(row["throughput ratio"]))

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
        timed = self.rows("table.csv")[0]
        self.assertAlmostEqual(float(timed["training seconds"]), 0.5, delta=0.51 * self.step_times(SMALL[1])[0] / 1e3)

        # Times of steps that were measured elsewhere are taken as they are: here ten times as long.
        times = json.loads((self.out / "step_times.json").read_text())
        times["measurements"][0]["models"][0]["ms"] = [10 * self.step_times(SMALL[1])[0]]
        shared = self.folder / "shared.json"
        shared.write_text(json.dumps(times))
        self.out = self.folder / "shared"
        self.compare(SMALL[1], "--budget=0.5s", f"--step-times={shared}")
        self.assertFalse((self.out / "step_times.json").exists())
        self.assertAlmostEqual(float(self.rows("table.csv")[0]["training tokens"]) * 10,
                               float(timed["training tokens"]), delta=6 * STEP_TOKENS)

    def test_a_fair_comparison(self):
        """Tuning, equal contexts, seeds and runs side by side, from the command to the page."""
        steps, context = 24, 8
        models = ["plus@srupp+d=32+d-projected=16+layers=1", "sha@sha-rnn+d=16+set=d_boom=32+layers=2",
                  "plain@transformer+d=16+heads=2+layers=1+set=d_head=8+set=d_inner=32+set=norm=before"]
        command = [*models, f"--tokens={steps * 4 * context}", "--tune=1", f"--context={context}", "--seeds=2",
                   "--jobs=2", "--reference=sha", "--evaluations=4"]
        self.flags = [flag for flag in FLAGS if "unroll" not in flag]
        self.compare(*command)

        table = {row["model"]: row for row in self.rows("table.csv")}
        self.assertEqual(set(table), {"plus", "sha", "plain"})
        found = json.loads((self.out / "tuning.json").read_text())
        tried = self.rows("tuning.csv")
        for label, row in table.items():
            self.assertEqual(int(row["runs"]), 2)
            curves = []
            for name, seed in ((label, 1234), (f"{label}.seed-1235", 1235)):
                plan = json.loads((self.out / f"{name}.plan.json").read_text())
                recipe = plan["facts"]["recipe"]
                for flag in found[label]["flags"]:
                    self.assertIn(flag, plan["command"])
                self.assertEqual((recipe["eval_window"], recipe["eval_memory"], recipe["eval_clamp"]), (8, 8, 0))
                self.assertEqual(recipe["unroll"], 16 if label == "plain" else 8)
                self.assertEqual(plan["facts"]["model"].get("max_positions", 16), 16)
                self.assertEqual(f"--seed={seed}" in plan["command"], seed == 1235)
                rows = [json.loads(line) for line in (self.out / name / "metrics.jsonl").read_text().splitlines()]
                curves.append([row["dev_bpc"] for row in rows if "dev_bpc" in row])
                self.assertEqual(len(curves[-1]), 4)
            self.assertNotEqual(*curves)  # another seed is another run
            best = [min(curve) for curve in curves]
            self.assertAlmostEqual(float(row["dev bpc"]), sum(best) / 2)
            self.assertAlmostEqual(float(row["dev bpc spread"]), abs(best[0] - best[1]) / 2)
            # What was found has the least loss of the last round, and its neighbours in rate were tried there.
            last = {trial["settings"]: float(trial["dev nats"]) for trial in tried
                    if (trial["model"], trial["round"]) == (label, "3") and trial["dev nats"] != "diverged"}
            self.assertEqual(found[label]["found"], min(last, key=last.get))
            self.assertTrue(found[label]["at_edge"] or set(found[label]["neighbours"]) <= {
                trial["settings"] for trial in tried if (trial["model"], trial["round"]) == (label, "3")})
            self.assertAlmostEqual(found[label]["spent"], sum(float(trial["share of a final run"]) for trial in tried
                                                              if trial["model"] == label))
        self.assertTrue(any("conv_width=0" in trial["settings"] for trial in tried if trial["model"] == "plus"))
        self.assertTrue(any("optimizer=muon" in trial["settings"] for trial in tried if trial["model"] == "sha"))
        self.assertFalse(any("max_positions" in trial["settings"] for trial in tried))  # the context settles it
        self.assertEqual(list(self.out.glob("tuning/**/*.safetensors")), [])
        page = (self.out / "index.html").read_text()
        self.assertIn("prefers-color-scheme: dark", page)
        self.assertEqual(Page(page).fetched, [])

        # The same command trains nothing again: a result of tuning that is lost is made again, with the same bits.
        lost = next((self.out / "tuning").glob("sha/*.json"))
        before, tuning = json.loads(lost.read_text()), (self.out / "tuning.json").read_text()
        lost.unlink()
        self.compare(*command)
        self.assertEqual(json.loads(lost.read_text()), before)
        self.assertEqual((self.out / "tuning.json").read_text(), tuning)
        self.assertEqual({row["model"]: row for row in self.rows("table.csv")}, table)

    def test_a_run_that_diverges(self):
        """It is named, and the others get their page."""
        said = self.compare("wild@sru+d=32+layers=1+lr=1e9+warmup=1+clip=1e9", SMALL[1], f"--tokens={60 * STEP_TOKENS}",
                            expect=1)
        self.assertIn("wild: a run diverged", said)
        self.assertEqual([row["model"] for row in self.rows("table.csv")], [SMALL[1]])
        self.assertIn("Diverged: wild, seed 1234", (self.out / "index.html").read_text())

    def test_a_final_run_that_blows_up_without_an_end(self):
        """Its losses are finite and far above those of the tuning: it counts as diverged, and gets half of the rate."""
        train = self.folder / "train"
        train.write_text(f"""#!/bin/sh
case "$*" in *--describe*|*step-probe*|*/tuning/*|*lowered-1*) exec {TRAIN} "$@";; esac
exec {TRAIN} "$@" --lr=1e-9
""")
        train.chmod(0o755)
        self.compare(SMALL[1], f"--tokens={400 * STEP_TOKENS}", "--tune=1", f"--train={train}")
        self.assertEqual(len(list(self.out.glob("*lowered-1*/metrics.jsonl"))), 1)
        self.assertEqual(len(list(self.out.glob("*lowered-2*"))), 0)
        self.assertIn("divided by 2, since a final run diverged", (self.out / "index.html").read_text())

    def test_a_rate_that_is_too_high_for_a_final_run(self):
        """All runs of the model get half of the rate that tuning found; the same command trains nothing again."""
        train = self.folder / "train"
        train.write_text(f"""#!/bin/sh
case "$*" in *--describe*|*step-probe*|*/tuning/*|*lowered-1*) exec {TRAIN} "$@";; esac
case "$*" in *seed-1235*) echo called >> "$0.called"; echo "the weights have diverged"; exit 1;; esac
exec {TRAIN} "$@"
""")
        train.chmod(0o755)
        command = [SMALL[1], "--tokens=1k", "--tune=1", "--seeds=2", f"--train={train}"]
        self.compare(*command)
        table, found = self.rows("table.csv"), json.loads((self.out / "tuning.json").read_text())[SMALL[1]]
        self.assertEqual(int(table[0]["runs"]), 2)
        lr = float(found["flags"][0].removeprefix("--lr="))
        for plan in self.out.glob("*lowered-1*.plan.json"):
            self.assertAlmostEqual(json.loads(plan.read_text())["facts"]["recipe"]["lr"], lr / 2)
        self.assertEqual(len(list(self.out.glob("*lowered-1*/metrics.jsonl"))), 2)
        self.assertIn("divided by 2, since a final run diverged", (self.out / "index.html").read_text())
        self.compare(*command)
        self.assertEqual(self.rows("table.csv"), table)
        self.assertEqual((self.folder / "train.called").read_text(), "called\n")

    def test_rates_settled_by_complete_runs(self):
        """The rate of the page is better than half and twice of it over complete runs, and holds for all seeds."""
        command = [SMALL[1] + "+lr=0.5", f"--tokens={40 * STEP_TOKENS}", "--seeds=2", "--jobs=2"]
        self.compare(*command)  # those runs are kept
        said = self.compare(*command, "--settle-rates")
        losses = {}
        for plan in self.out.glob("*.plan.json"):
            folder = self.out / plan.name.removesuffix(".plan.json")
            kept = json.loads(plan.read_text())
            at = kept["facts"]["recipe"]["lr"], 1235 if "--seed=1235" in kept["command"] else 1234
            rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            losses[at] = [row["dev_nats"] for row in rows if "dev_nats" in row][-1]
        first = {lr: loss for (lr, seed), loss in losses.items() if seed == 1234}
        best = min(first, key=first.get)
        self.assertIn(f"settled lr={best:.4g}", said)
        self.assertNotEqual(best, 0.5)  # so that the ladder was climbed
        for factor in (0.5, 2):
            self.assertTrue(any(math.isclose(lr, factor * best) for lr in first), first)
        self.assertEqual({lr for lr, seed in losses if seed == 1235}, {0.5, best})
        row, = self.rows("table.csv")
        self.assertEqual(int(row["runs"]), 2)
        bits = [losses[best, seed] / math.log(2) for seed in (1234, 1235)]
        self.assertAlmostEqual(float(row["dev bpc"]), sum(bits) / 2, delta=0.02)  # of the best evaluation, not the last
        self.assertIn("settled by complete runs", (self.out / "index.html").read_text())

    def test_a_signal(self):
        """TERM stops the runs, and the same command goes on as if nothing had been."""
        # This train stops in the middle of a run, and waits there for the signal.
        slow = self.folder / "train"
        slow.write_text(f"""#!/bin/sh
case "$*" in *--describe*|*step-probe*) exec {TRAIN} "$@";; esac
{TRAIN} "$@" --max-steps=20 || exit $?
trap 'exit 3' TERM
touch "$0.waits.$$"
while :; do sleep 0.02; done
""")
        slow.chmod(0o755)
        steps = 30
        process = subprocess.Popen([COMPARE, f"--train={slow}", f"--corpus={self.corpus}", f"--out={self.out}", *FLAGS,
                                    *SMALL, f"--tokens={steps * STEP_TOKENS}", "--jobs=2"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        while process.poll() is None and len(list(self.folder.glob("train.waits.*"))) < 2:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[1].decode()
        self.assertEqual(process.returncode, 3, said)
        self.assertIn("the same command again goes on", said)
        self.compare(*SMALL, f"--tokens={steps * STEP_TOKENS}")
        for model in ("srupp", "sru_"):
            self.assertIn("resuming from", next(self.out.glob(f"{model}*.log")).read_text())
        curves = self.rows("curves.csv")
        times = self.out / "step_times.json"
        self.out = self.folder / "whole"
        self.compare(*SMALL, f"--tokens={steps * STEP_TOKENS}", f"--step-times={times}")
        self.assertEqual(self.rows("curves.csv"), curves)

    def test_words(self):
        self.compare(SMALL[1], f"--tokens={10 * STEP_TOKENS}", "--flag=level=word")
        self.assertGreater(float(self.rows("table.csv")[0]["test perplexity"]), 1)

    def test_refusals(self):
        self.assertIn("no-such-model", self.compare(SMALL[1], "no-such-model", "--tokens=1k", expect=2))
        self.assertIn("named twice", self.compare(SMALL[1], SMALL[1], "--tokens=1k", expect=2))
        self.assertIn("not a quantity", self.compare(SMALL[1], "--tokens=many", expect=2))
        self.assertIn("required", self.compare(SMALL[1], expect=2))
        self.assertIn("whole number", self.compare(SMALL[1], "--tokens=1k", "--seeds=0", expect=2))
        self.assertIn("is not [LABEL@]", self.compare("+d=3", "--tokens=1k", expect=2))
        self.assertIn("0 models are called so", self.compare(SMALL[1], "--tokens=1k", "--reference=gru", expect=2))
        self.assertFalse(self.out.exists())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
