"""Tests of what tools/compare_models computes: search, thresholds, ratios and spreads, from numbers made by hand.

The argument is the folder of the tools.
"""
import json
import math
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, sys.argv[1])
from compare import rates, results, runs, space, step_times, tuning  # noqa: E402
from compare.files import Failure  # noqa: E402
from compare.space import Candidate  # noqa: E402

LN2 = math.log(2)


def facts_of(**changes):
    facts = {"model": {"model": "srupp", "d": 64, "highway_bias": -2.0, "conv_width": 0, "short_conv_width": 0},
             "parameters": 1000,
             "unroll": 8, "tokens_per_step": 32.0, "flops_per_step": 6400.0, "warmup": 100, "precision": "f32",
             "recompute": False,
             "device": "cpu, test", "level": "byte",
             "recipe": {"batch_size": 4, "unroll": 8, "accumulate": 1, "memory": -1, "optimizer": "radam", "lr": 0.008,
                        "weight_decay": 0.1}}
    return facts | changes


class Recorded(unittest.TestCase):
    """Results from metrics files as train writes them."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_of(self, devs, test=None, ms=1000.0, torn=False):
        """Returns the run of a metrics file with dev losses at the steps 10, 20, ..., given in bits."""
        lines = []
        for i, dev in enumerate(devs):
            lines += [{"step": step, "loss": 1, "ms": ms, "memory_bytes": 1000 + step}
                      for step in range(10 * i + 1, 10 * i + 11)]
            lines.append({"step": 10 * i + 10, "dev_bpc": dev, "dev_nats": dev * LN2, "symbols": 5})
        if test is not None:
            lines.append({"step": 10 * len(devs), "test_bpc": test, "test_nats": test * LN2, "symbols": 5})
        path = self.folder / "metrics.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines) + ('{"step": 3, "dev_na' if torn else ""))
        return runs.read_run(path)

    def result(self, label, curves, ms, tests=(), **changes):
        tests = tests or [None] * len(curves)
        return results.Result(label, facts_of(**changes), [self.run_of(*run) for run in zip(curves, tests)], ms)

    def test_reads_metrics(self):
        run = self.run_of([3, 2, 2.5], 2.25, torn=True)
        self.assertEqual(run["steps"], 30)
        self.assertEqual([step for step, _ in run["curve"]], [10, 20, 30])
        self.assertAlmostEqual(run["curve"][1][1], 2 * LN2)
        self.assertAlmostEqual(run["test"], 2.25 * LN2)
        self.assertEqual(run["peak"], 1030)
        self.assertTrue(math.isnan(self.run_of([3])["test"]))
        with self.assertRaisesRegex(Failure, "no evaluation"):
            self.run_of([])

    def test_drops_scores_of_a_stop(self):
        path = self.folder / "stopped.jsonl"
        path.write_text('{"step": 10, "dev_nats": 2}\n{"step": 13, "dev_nats": 1, "at_stop": true}\n'
                        '{"step": 13, "test_nats": 1, "at_stop": true}\n{"step": 20, "dev_nats": null}\n')
        run = runs.read_run(path)
        self.assertEqual(run["curve"], [(10, 2)])
        self.assertTrue(math.isnan(run["test"]))

    def test_means_and_spreads(self):
        result = self.result("a", [[3, 2, 2.5], [3, 2.6, 2.3]], [20.0, 40.0, 30.0], [2.5, 2.9])
        bits = lambda nats: nats / LN2
        best, test = result.best(bits), result.test(bits)
        self.assertAlmostEqual(best.mean, 2.15)
        self.assertAlmostEqual(best.low, 2)
        self.assertAlmostEqual(best.high, 2.3)
        self.assertEqual(best.text(lambda value: f"{value:.2f}"), "2.15 ± 0.15")
        self.assertAlmostEqual(test.mean, 2.7)
        self.assertAlmostEqual(test.around(), 0.2)
        self.assertAlmostEqual(result.test(math.exp).mean, (math.exp(2.5 * LN2) + math.exp(2.9 * LN2)) / 2)
        self.assertEqual((result.step_ms.mean, result.step_ms.low, result.step_ms.high), (30, 20, 40))
        self.assertAlmostEqual(result.costs()["seconds"], 0.03)
        band = result.band(bits)
        self.assertEqual([step for step, _ in band], [10, 20, 30])
        self.assertAlmostEqual(band[1][1].mean, 2.3)
        self.assertAlmostEqual(band[1][1].high, 2.6)
        self.assertIsNone(self.result("b", [[3]], [1.0]).test(bits))
        self.assertEqual(results.Spread.of([2]).text(str), "2.0")

    def test_bits_per_byte_of_subwords(self):
        """Evaluations during training read a part of dev, so each split has its own bytes a token."""
        path, found = self.folder / "subwords.jsonl", []
        for dev, test in ((2, 2.5), (1.5, None)):
            rows = [{"step": 0, "dev_nats": None, "dev_bpb": None}]
            rows += [{"step": step, "dev_nats": nats, "dev_bpb": nats * 100 / LN2 / 400} for step, nats in ((1, dev), (2, 3))]
            rows += [{"step": 2, "test_nats": test, "test_bpb": test * 100 / LN2 / 250}] if test else []
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            found.append(runs.read_run(path))
        result = results.Result("a", facts_of(level="subword"), found, [1.0])
        dev, test = result.bits_per_byte("dev"), result.bits_per_byte("test")
        self.assertAlmostEqual(dev.mean, 1.75 / LN2 / 4)
        self.assertAlmostEqual(dev.high, 2 / LN2 / 4)
        self.assertAlmostEqual(test.mean, 2.5 / LN2 / 2.5)
        self.assertEqual(test.runs, 1)
        self.assertIsNone(self.result("b", [[3]], [1.0]).bits_per_byte("dev"))

    def test_steps_to_a_loss(self):
        curve = [(10, 3.0), (20, 2.0), (30, 2.5), (40, 1.5)]
        self.assertEqual(results.steps_to(curve, 2.0), 20)
        self.assertEqual(results.steps_to(curve, 2.25), 17.5)
        self.assertEqual(results.steps_to(curve, 1.75), 37.5)  # from 2.5 at step 30, although 2.0 came before
        self.assertEqual(results.steps_to(curve, 3.5), 10)
        self.assertIsNone(results.steps_to(curve, 1.4))
        self.assertEqual(results.best_until(curve, 15), 2.5)
        self.assertEqual(results.best_until(curve, 25), 2.0)
        self.assertEqual(results.best_until(curve, 40), 1.5)
        self.assertEqual(results.best_until(curve, 5), 3.0)

    def test_thresholds(self):
        reference = self.result("reference", [[4, 3, 2, 1.5], [4, 3.5, 2.5, 1.75]], [10.0])
        other = self.result("other", [[3, 2, 1, 0.5], [3, 2, 1, 0.75]], [10.0])
        found = results.thresholds_of([other, reference], reference)
        self.assertEqual([name for name, _ in found],
                         ["reference at 25% of its steps", "reference at 50% of its steps", "reference at its end",
                          "other at its end"])
        for (_, loss), bits in zip(found, (4, 3.5, 1.75, 0.75)):
            self.assertAlmostEqual(loss / LN2, bits)

    def test_ratios(self):
        # The reference is at 2 bits after 20 and 40 steps of 64 tokens, the other after 10 and 20 steps of 32 tokens.
        reference = self.result("reference", [[3, 2, 1, 1], [4, 4, 3, 2]], [40.0, 50.0], tokens_per_step=64.0,
                                flops_per_step=1000.0)
        other = self.result("other", [[2, 1, 1, 1], [3, 2, 1, 1]], [10.0, 20.0], tokens_per_step=32.0,
                            flops_per_step=3000.0)
        found = results.ratios_to(reference, other, 2 * LN2)
        for spread, numbers in ((found.tokens, (4, 2, 8)),  # 1920 : 480 tokens; 1280 : 640; 2560 : 320
                                (found.throughput, (1.625, 1.25, 2)),  # 3200 : 1600 and 1600 : 1280 tokens a second
                                (found.time, (6.5, 2.5, 16)),
                                (found.flops, (2 / 3, 1 / 3, 4 / 3))):  # 30k : 45k; 20k : 60k; 40k : 30k
            for value, number in zip((spread.mean, spread.low, spread.high), numbers):
                self.assertAlmostEqual(value, number)
        # At 1 bit one run of the reference is not there yet.
        self.assertIsNone(results.ratios_to(reference, other, LN2))
        self.assertEqual((reference.reached_by(LN2), other.reached_by(LN2)), (1, 2))
        self.assertIsNone(results.ratios_to(other, reference, 0.5 * LN2))
        table = results.reach_table([other, reference], reference)
        self.assertTrue(all(row[4] is None for row in table if row[2] is reference))
        self.assertEqual(len(table), 2 * 4)


class MadeUp:
    """Losses by a formula in place of training: lowest at the rate 2^best, with gains of settings."""

    def __init__(self, best, gains=None, diverges=lambda candidate: False):
        self.best, self.gains, self.diverges, self.asked = best, gains or {}, diverges, []

    def loss(self, candidate):
        if self.diverges(candidate):
            return math.inf
        gain = sum(self.gains.get(change, 0) for change in candidate.changes)
        return 2 + 0.01 * (candidate.rung - self.best) ** 2 - gain

    def __call__(self, candidates, share):
        self.asked.append((len(candidates), share))
        return [self.loss(candidate) for candidate in candidates]


class Tuning(unittest.TestCase):
    PLAIN = space.Space(0.008, ((),), (("weight_decay", 0),))

    def search(self, of_space, losses, budget=2):
        search = tuning.Search(of_space, budget, losses)
        return search, search.best()

    def test_takes_the_better_of_two_rates(self):
        for best in (-1, 0, 1):
            self.assertEqual(self.search(self.PLAIN, MadeUp(best))[1], Candidate(best))

    def test_extends_the_ladder(self):
        for best in (-5, 4, 7):
            search, found = self.search(self.PLAIN, MadeUp(best))
            self.assertEqual(found.rung, best)
            self.assertFalse(search.at_edge)
            last = search.scores
            self.assertTrue(all(last[found] < last[found.at(best + step)] for step in (-1, 1)))
        search, found = self.search(self.PLAIN, MadeUp(20))
        self.assertEqual((found.rung, search.at_edge), (space.LONGEST_LADDER, True))

    def test_moves_when_longer_runs_want_another_rate(self):
        """The best rate of the last round is looked for there, also if shorter runs point elsewhere."""
        losses = MadeUp(2)

        def evaluate(candidates, share):
            losses.best = 2 if share < 0.2 else -3
            return losses(candidates, share)
        search, found = self.search(space.Space(0.008, ((),), ()), evaluate, 4)
        self.assertEqual((found.rung, search.at_edge), (-3, False))

    def test_a_diverged_rate_is_an_edge(self):
        losses = MadeUp(3, diverges=lambda candidate: candidate.rung > 1)
        search, found = self.search(self.PLAIN, losses)
        self.assertEqual((found.rung, search.at_edge), (1, False))
        with self.assertRaisesRegex(Failure, "diverged, down to lr 3.13e-05"):
            self.search(self.PLAIN, MadeUp(0, diverges=lambda candidate: True))

    def test_settings_that_help_only_together(self):
        together = (("alpha", 1), ("conv_width", 3))
        of_space = space.Space(0.008, ((), (("conv_width", 3),), together),
                               (("weight_decay", 0), ("warmup_share", 0.1)))
        losses = MadeUp(1, {("conv_width", 3): -0.1, ("alpha", 1): 0.4, ("weight_decay", 0): 0.05,
                            ("warmup_share", 0.1): -0.05})
        search, found = self.search(of_space, losses)
        self.assertEqual(found, Candidate(1, (*together, ("weight_decay", 0))))
        self.assertEqual(of_space.flags(found),
                         ["--lr=0.016", "--set=alpha=1", "--set=conv_width=3", "--weight-decay=0"])
        self.assertEqual(of_space.text(found), "lr=0.016 alpha=1 conv_width=3 weight_decay=0")

    def test_changes_that_help_are_joined(self):
        of_space = space.Space(0.008, ((),), (("weight_decay", 0), ("weight_decay", 0.2), ("warmup_share", 0.1)))
        losses = MadeUp(0, {("weight_decay", 0): 0.05, ("weight_decay", 0.2): 0.08, ("warmup_share", 0.1): 0.02})
        found = self.search(of_space, losses)[1]
        self.assertEqual(found.changes, (("warmup_share", 0.1), ("weight_decay", 0.2)))

    def test_budget(self):
        """Whatever its space, a model with its best rate inside of the ladder stays within the same budget."""
        wide = space.Space(0.008, ((), (("a", 1),), (("a", 2),)), (("weight_decay", 0), ("warmup_share", 0.1)))
        for of_space in (self.PLAIN, wide):
            for best in (-1, 0, 1):
                losses = MadeUp(best)
                search = self.search(of_space, losses, 1.5)[0]
                self.assertLessEqual(search.spent(), 1.5 + 1e-9)
                self.assertGreater(search.spent(), 0.9)
                self.assertAlmostEqual(search.spent(), sum(count * share for count, share in losses.asked))
                shares = [trial[1] for trial in search.trials]
                self.assertAlmostEqual(max(shares), 4 * min(shares))
        self.assertEqual(tuning.shortest_share(self.PLAIN, 1000), 0.25)

    def test_space_of_a_model(self):
        facts = facts_of()
        found = space.space_of("srupp", facts, {}, 0.02)
        self.assertEqual(found.variants, ((),))  # without alpha in its configuration no variant fits
        self.assertEqual(found.alternatives, (("optimizer", "muon"), ("weight_decay", 0), ("warmup_share", 0.1)))
        facts["model"]["alpha"] = 0
        facts["recipe"]["decay"] = "all"
        found = space.space_of("srupp", facts, {}, 0.01)
        self.assertIn((("alpha", 1), ("conv_width", 3), ("highway_bias", 0), ("short_conv_width", 4)), found.variants)
        self.assertIn(("decay", "matrices"), found.alternatives)
        found = space.space_of("srupp", facts, {"conv_width": "0", "weight_decay": "0.1", "warmup": "9"}, 0.01)
        self.assertEqual((found.variants, found.alternatives),
                         (((),), (("optimizer", "muon"), ("decay", "matrices"))))
        facts["model"] = {"model": "sha-rnn", "max_positions": 16}
        self.assertEqual(space.space_of("sha-rnn", facts, {}, 0.02).variants, ((), (("max_positions", 32),)))


class Times(unittest.TestCase):
    def test_finds_the_newest_that_has_all(self):
        first, second = facts_of(), facts_of(tokens_per_step=64.0)
        second["model"] = {"model": "sru", "d": 32}
        woken = facts_of()
        woken["model"] = woken["model"] | {"highway_bias": 0}

        def row(facts, ms):
            return {"label": "x", "settings": step_times.settings_of(facts), "command": [], "ms": ms}
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "times.json"
            self.assertIsNone(step_times.find(path, [first]))
            path.write_text(json.dumps({"measurements": [
                {"device": "old", "models": [row(first, [1, 5, 2]), row(second, [4, 4, 4])]},
                {"device": "new", "models": [row(first, [7, 9, 8])]}]}))
            self.assertEqual(step_times.find(path, [first]).seconds(first), 0.008)
            both = step_times.find(path, [first, second])
            self.assertEqual((both.measurement["device"], both.seconds(first)), ("old", 0.002))
            self.assertEqual(both.ms(woken), [1, 5, 2])  # the bias of a gate costs nothing
            wider = facts_of()
            wider["model"] = wider["model"] | {"conv_width": 3}
            self.assertIsNone(step_times.find(path, [first, wider]))
            path.write_text("[]")
            with self.assertRaisesRegex(Failure, "no measurements"):
                step_times.find(path, [first])


class Rates(unittest.TestCase):
    """Which rates complete runs try: half before twice, until the best one is better than both of its neighbours."""

    def settled(self, loss_at, most=40):
        losses = {}
        for _ in range(most):
            wanted = rates.missing(losses)
            if not wanted:
                return rates.best_of(losses), losses
            for rung in wanted:
                self.assertNotIn(rung, losses)
                losses[rung] = loss_at(rung)
        self.fail("does not end")

    def test_the_best_is_better_than_its_neighbours(self):
        for best in range(-5, 6):
            with self.subTest(best=best):
                found, losses = self.settled(lambda rung, best=best: 1 + abs(rung - best))
                self.assertEqual(found, best)
                self.assertTrue({best - 1, best, best + 1} <= set(losses))
                self.assertEqual(set(losses), set(range(min(best, 0) - 1, max(best, -1) + 2)))

    def test_rates_that_diverge_and_equal_ones(self):
        self.assertEqual(self.settled(lambda rung: math.inf if rung > -3 else 1 + abs(rung + 3))[0], -3)
        self.assertEqual(self.settled(lambda rung: 1.0)[0], -space.LONGEST_LADDER)
        self.assertEqual(self.settled(lambda rung: -rung)[0], space.LONGEST_LADDER)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
