"""Writes and prints the results of a comparison: tables as CSV, the page, and a line for each model."""
import math
import sys

from compare import page
from compare.arguments import budget_text
from compare.files import replace, write_csv
from compare.plot import plot
from compare.results import reach_table
from compare.space import LONGEST_LADDER
from compare.step_times import MOST_LOAD


class Report:
    """The results of a comparison in the unit of its text: bits per character, or perplexity of words and subwords,
    and of subwords bits per byte, too."""

    def __init__(self, arguments, models, tuned, step_times, results, reference, diverged):
        self.arguments, self.models, self.tuned, self.step_times = arguments, models, tuned, step_times
        self.diverged = diverged  # runs
        self.level = results[0].facts["level"]
        is_bytes = self.level == "byte"
        self.metric = "bpc" if is_bytes else "perplexity"
        self.unit = (lambda nats: nats / math.log(2)) if is_bytes else math.exp
        self.results = sorted(results, key=lambda result: (result.test(self.unit) or result.best(self.unit)).mean)
        self.in_order = results  # as on the command line: a model keeps its colour
        self.reference = next((result for result in results if result.label == reference.label), results[0])

    def columns(self, result):
        """Returns [(title, text on the page, {title in the CSV: value})] of a model."""
        best, test = result.best(self.unit), result.test(self.unit)
        tokens, flops = (result.steps * cost for cost in (result.tokens_per_step, result.flops_per_step))
        seconds, ms, metric = result.steps * result.step_seconds, result.step_ms, self.metric
        flop = result.flops_per_step
        return [
            ("model", result.label, {"model": result.label}),
            self.column(f"dev {metric}", best),
            self.column(f"test {metric}", test),
            *(self.column(f"{split} bits per byte", result.bits_per_byte(split))
              for split in ("dev", "test") if self.level == "subword"),
            ("parameters", f"{result.parameters:,}", {"parameters": result.parameters}),
            ("tokens, M", f"{tokens / 1e6:.3g}", {"training tokens": tokens}),
            ("FLOPs", f"{flops:.3g}", {"training FLOPs": flops}),
            ("MFLOP a token", f"{flop / result.tokens_per_step / 1e6:.3g}",
             {"FLOPs a token": flop / result.tokens_per_step}),
            ("seconds", f"{seconds:.3g}", {"training seconds": seconds}),
            ("ms a step (min .. max)", f"{ms.mean:.3g} ({ms.low:.3g} .. {ms.high:.3g})",
             {"ms a step": ms.mean, "least ms a step": ms.low, "most ms a step": ms.high}),
            ("tokens/s", f"{result.tokens_per_step / result.step_seconds:,.0f}", {}),
            ("GFLOP/s", f"{flop / result.step_seconds / 1e9:.3g}", {}),
            ("peak memory, MB", f"{result.peak / 1e6:.0f}", {"peak memory, MB": result.peak / 1e6}),
            ("runs", f"{len(result.runs)}", {"runs": len(result.runs)}),
        ]

    def column(self, title, spread):
        """Returns the column of a Spread of scores, or of None."""
        return (title, spread.text(self.score) if spread else "-",
                {title: spread.mean if spread else "", f"{title} spread": spread.around() if spread else ""})

    @staticmethod
    def score(value):
        return f"{value:.4f}"

    def write(self):
        self.write_tables()
        replace(self.arguments.out / "index.html", page.page(f"Models on {self.arguments.corpus}", [
            *self.opening(), *self.plots(), *self.reach(), *self.tuning(), *self.details()]))

    def say(self):
        """Prints a line for each model."""
        for result in self.results:
            test = result.test(self.unit)
            print(f"{result.label:40} {result.parameters:>12,} parameters  "
                  f"{result.steps * result.step_seconds:6.0f} s  dev {result.best(self.unit).text(self.score)}  "
                  f"test {test.text(self.score) if test else 'none'} {self.metric}")

    def write_tables(self):
        rows = [{title: value for _, _, values in self.columns(result) for title, value in values.items()}
                for result in self.results]
        write_csv(self.arguments.out / "table.csv", list(rows[0]), [list(row.values()) for row in rows])
        metric = f"dev {self.metric}"
        write_csv(self.arguments.out / "curves.csv",
                  ["model", "tokens", "flops", "seconds", metric, f"least {metric}", f"most {metric}"],
                  [[result.label, *(step * result.costs()[cost] for cost in ("tokens", "flops", "seconds")),
                    spread.mean, spread.low, spread.high]
                   for result in self.results for step, spread in result.band(self.unit)])
        head = [f"{cost} ratio{end}" for cost in ("time", "tokens", "throughput", "FLOPs")
                for end in ("", " least", " most")]
        write_csv(self.arguments.out / "reach.csv",
                  ["threshold", metric, "model", "reached by", "runs", "tokens", "flops", "seconds", *head],
                  [[name, self.unit(loss), result.label, result.reached_by(loss), len(result.runs),
                    *([steps.mean * result.costs()[cost] for cost in ("tokens", "flops", "seconds")]
                      if steps else [""] * 3),
                    *([value for spread in (ratios.time, ratios.tokens, ratios.throughput, ratios.flops)
                       for value in (spread.mean, spread.low, spread.high)] if ratios else [""] * len(head))]
                   for name, loss, result, steps, ratios in reach_table(self.results, self.reference)])

    def opening(self):
        arguments = self.arguments
        seeds = max(len(result.runs) for result in self.results)
        text = [f"{budget_text(arguments)}. Dev is the best of the evaluations in a curve, test is that checkpoint's. "
                "Lower is better. ±: the largest distance of a run from the mean of the runs, which differ by their "
                f"seeds ({seeds} each)." if seeds > 1 else
                f"{budget_text(arguments)}. Dev is the best of the evaluations in a curve, test is that checkpoint's. "
                "Lower is better. One run of each model: differences as small as those between seeds say nothing."]
        missing = [model.label for model in self.models if model.label not in
                   [result.label for result in self.results if len(result.runs) == arguments.seeds]]
        if missing:
            text.append("Without all of its runs: " + ", ".join(missing) + ".")
        if self.diverged:
            text.append("Diverged: " + ", ".join(f"{run.model.label}, seed {run.seed}" for run in self.diverged) + ".")
        head = [title for title, _, _ in self.columns(self.results[0])]
        rows = [[shown for _, shown, _ in self.columns(result)] for result in self.results]
        classes = ["best" if i == 0 else "" for i in range(len(rows))]
        return [*map(page.paragraph, text), page.table(head, rows, classes=classes),
                page.paragraph("Time is steps times the time of a step, which was measured for all models in turn with "
                               f"no other load ({self.measured()}), and not the wall time of the runs, which may have "
                               "been disturbed. Time of evaluations does not count."),
                *self.warning_of_load()]

    def measured(self):
        measurement = self.step_times.measurement
        rounds = len(measurement["models"][0]["ms"])
        return (f"{measurement['device']}; {rounds} rounds of {measurement['steps']} steps, medians; "
                f"{measurement['date']}")

    def warning_of_load(self):
        load = self.step_times.measurement["load"]
        return [page.paragraph(f"Warning: the load of the machine was {load} when that began. These times are too "
                               "long, and their ratios uncertain.")] if load > MOST_LOAD else []

    def plots(self):
        parts = []
        for cost, what, label in (("seconds", "training time", "seconds"), ("flops", "FLOPs", "training FLOPs"),
                                  ("tokens", "tokens", "training tokens")):
            parts += [page.heading(f"Dev {self.metric} against {what}"),
                      plot(self.in_order, cost, label, self.unit, self.metric)]
        if any(len(result.runs) > 1 for result in self.results):
            parts.append(page.paragraph("Lines are means over the runs of a model; bands reach from its best to its "
                                        "worst."))
        return parts

    def reach(self):
        reference = self.reference.label
        parts = [page.heading(f"What it takes to reach a dev {self.metric}"), page.paragraph(
            "Thresholds are what the worst run of a model has reached; costs are interpolated linearly between "
            "evaluations, and ≤ marks what a run had already reached at its first. Ratios say how much less than "
            f"{reference} a model needs: at 2 half as much. Time ratio = token ratio x throughput ratio. In brackets "
            "are the worst and the best pairing of runs (tokens, FLOPs) and of rounds of the measurement "
            "(throughput).")]
        head = ["model", "tokens, M", "FLOPs", "seconds", "time ratio", "= token ratio", "x throughput ratio",
                "FLOP ratio"]
        rows, classes, shown = [], [], None
        for name, loss, result, steps, ratios in [*reach_table(self.results, self.reference), (None,) * 5]:
            if name != shown and rows:
                parts += [page.table(head, rows, classes=classes)]
                rows, classes = [], []
            if name is None:
                break
            if name != shown:
                parts.append(f"<h3>{self.unit(loss):.4f} {self.metric}: {page.escaped(name)}</h3>")
                shown = name
            rows.append([result.label, *self.costs_text(result, loss, steps),
                         *(["reference", "", "", ""] if result is self.reference else ratios_text(ratios))])
            classes.append("reference" if result is self.reference else "")
        return parts

    @staticmethod
    def costs_text(result, loss, steps):
        if steps is None:
            reached = result.reached_by(loss)
            missing = f" by {len(result.runs) - reached} of {len(result.runs)}" if reached else ""
            return [f"not reached{missing}", "", ""]
        costs, bound = result.costs(), "≤ " if result.reaches_at_once(loss) else ""
        return [bound + steps.times(costs[cost] / scale).text(lambda value: f"{value:.3g}")
                for cost, scale in (("tokens", 1e6), ("flops", 1), ("seconds", 1))]

    def tuning(self):
        if not self.arguments.tune:
            return [page.heading("Tuning"), page.paragraph(
                "None: every model has the settings of its preset and of the command line, which were chosen with "
                "unequal care."), *self.complete_runs()]
        done = [one for one in self.tuned if one.found]
        head = ["model", "found", f"dev {self.metric} there", "at half and twice the rate", "final runs spent", "runs",
                "longest, of a final run"]
        parts = [page.heading("Tuning"), page.paragraph(
            f"Each model had short runs that take {self.arguments.tune:g} final runs in all: successive halving in "
            "three rounds, each run with a complete schedule of its own, those of the next round twice as long. The "
            "rate found is better than half and twice of it in the last round. All runs of the tuning have the first "
            "seed, and are compared by their last dev loss."),
            page.table(head, [self.found_row(one.found, lowered_text(one), one.model.label) for one in done], "left")]
        parts += self.complete_runs()
        for one in done:
            parts.append(page.folded(f"All runs of {one.model.label}", page.table(
                ["round", "share of a final run", "steps", "settings", f"dev {self.metric}"],
                [[str(trial["round"]), f"{trial['share']:.1%}", f"{trial['steps']:,}", trial["settings"],
                  self.loss_text(trial["dev_nats"])] for trial in one.found["trials"]], "left")))
        return parts

    def complete_runs(self):
        """Returns the table of the rates that complete runs have settled, if they have."""
        done = [one for one in self.tuned if one.complete]
        if not done:
            return []
        return [page.paragraph(
            "The learning rates were settled by complete runs of the first seed: the best is better than half and twice "
            "of it. Short runs favour rates that are too high for long ones."),
            page.table(["model", f"last dev {self.metric} of a complete run at each rate", "settled"],
                       [[one.model.label, "; ".join(f"{rate:.4g}: {self.loss_text(loss)}"
                                                    for rate, loss in one.complete.items()),
                         f"{one.space.rate(one.candidate(one.rung)):.4g}"
                         + (" (the ladder ends here)" if abs(one.rung) == LONGEST_LADDER else "")]
                        for one in done], "left")]

    def found_row(self, found, lowered, label):
        neighbours = "; ".join(f"{text.split()[0]}: {self.loss_text(loss)}"
                               for text, loss in found["neighbours"].items())
        return [label, found["found"] + lowered, self.loss_text(found["loss"]),
                neighbours + (" (the ladder ends here)" if found["at_edge"] else ""), f"{found['spent']:.2f}",
                f"{len(found['trials'])}", f"{found['longest']:.1%}"]

    def loss_text(self, nats):
        return "diverged" if nats is None else self.score(self.unit(nats))

    def details(self):
        facts = self.results[0].facts
        corpus = facts["corpus"]
        unit = f"{facts['level']}s"
        parts = [page.heading("What was compared"), page.paragraph(
            f"Text: {self.arguments.corpus}, sha256 {corpus['sha256'][:16]}: train {corpus['train']:,}, dev "
            f"{corpus['dev']:,}, test {corpus['test']:,} {unit}"
            + (f"; evaluations during training read the first {facts['recipe']['eval_bytes']:,} of dev"
               if facts["recipe"]["eval_bytes"] else "") + "."),
            page.paragraph(f"Machine: {facts['device']}; precision {facts['precision']}; "
                           f"{self.arguments.jobs} run{'s' if self.arguments.jobs > 1 else ''} at a time. Losses do "
                           "not depend on the number of threads.")]
        rows = []
        for result in self.results:
            recipe = result.facts["recipe"]
            batch = f"{recipe['batch_size']} x {recipe['unroll']}"
            if recipe["accumulate"] > 1:
                batch += f" x {recipe['accumulate']}"
            rows.append([result.label, batch, context_text(result.facts, recipe), recipe_text(recipe),
                         f"{result.steps:,}"])
        parts.append(page.table(["model", "batch x segment", "context", "recipe", "steps"], rows, "left"))
        parts.append(page.folded("Configurations", page.table(
            ["model", "configuration"], [[result.label, ", ".join(f"{name} {value}" for name, value in
                                                                  result.facts["model"].items())]
                                         for result in self.results], "left")))
        return [*parts, page.paragraph("Made by"), page.code(["tools/compare_models", *sys.argv[1:]])]


def context_text(facts, recipe):
    """Returns what a query sees before its segment, in training and in evaluation."""
    memory = 0 if not facts["carries_state"] else recipe["unroll"] if recipe["memory"] < 0 else recipe["memory"]
    own = facts["model"].get("max_positions")
    trained = f"at most {own} keys" if own else f"memory {memory}"
    seen = recipe["eval_window"] if recipe["eval_memory"] < 0 else recipe["eval_memory"]
    clamp = f", distances to {recipe['eval_clamp']}" if recipe["eval_clamp"] else ""
    return (f"training: segment {recipe['unroll']}, {trained}; "
            f"evaluation: window {recipe['eval_window']}, memory {seen}{clamp}")


def recipe_text(recipe):
    return (f"{recipe['optimizer']}, lr {recipe['lr']:.4g}, weight decay {recipe['weight_decay']:g}, "
            f"clip {recipe['clip']:g}, {recipe['schedule']}")


def lowered_text(tuned):
    return f"; the rate was divided by {2 ** tuned.divided}, since a final run diverged" if tuned.divided else ""


def ratios_text(ratios):
    if ratios is None:
        return ["", "", "", ""]
    return [f"{spread.mean:.2f} ({spread.low:.2f} .. {spread.high:.2f})"
            for spread in (ratios.time, ratios.tokens, ratios.throughput, ratios.flops)]
