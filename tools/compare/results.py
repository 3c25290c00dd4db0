"""From runs to numbers: means and spreads over seeds, the cost of reaching a loss, and ratios to a reference model."""
import dataclasses
import math
import statistics


@dataclasses.dataclass(frozen=True)
class Spread:
    """A mean over runs, with the least and the largest value."""

    mean: float
    low: float
    high: float
    runs: int = 1

    @staticmethod
    def of(values):
        values = list(values)
        return Spread(statistics.fmean(values), min(values), max(values), len(values))

    def around(self):
        """Returns the largest distance of a run from the mean."""
        return max(self.high - self.mean, self.mean - self.low)

    def times(self, factor):
        return Spread(self.mean * factor, self.low * factor, self.high * factor, self.runs)

    def text(self, show):
        """Returns "1.60 ± 0.02", or "1.60" of a single run."""
        return show(self.mean) if self.runs == 1 else f"{show(self.mean)} ± {show(self.around())}"


class Result:
    """The runs of one model, and what they cost.

    `runs` are those of read_run(), `facts` is what `train --describe` says, `ms` are the times of a step in the rounds
    of their measurement.
    """

    def __init__(self, label, facts, runs, ms):
        self.label, self.facts, self.runs, self.ms = label, facts, runs, ms
        self.step_seconds = statistics.median(ms) / 1e3
        self.step_ms = Spread(statistics.median(ms), min(ms), max(ms), len(ms))
        self.steps = runs[0]["steps"]
        self.tokens_per_step = facts["tokens_per_step"]
        self.flops_per_step = facts["flops_per_step"]
        self.parameters = facts["parameters"]
        self.peak = max(run["peak"] for run in runs)
        self.bests = [min(loss for _, loss in run["curve"]) for run in runs]
        self.tests = [run["test"] for run in runs if math.isfinite(run["test"])]

    def costs(self):
        """Returns what a step costs, by unit."""
        return {"seconds": self.step_seconds, "flops": self.flops_per_step, "tokens": self.tokens_per_step}

    def best(self, unit):
        """Returns the Spread of the best dev losses, in the unit of a function of nats."""
        return Spread.of(map(unit, self.bests))

    def test(self, unit):
        """Returns the Spread of the test losses, or None if no run was tested."""
        return Spread.of(map(unit, self.tests)) if self.tests else None

    def bits_per_byte(self, split):
        """Returns the Spread of the bits per byte of the best dev or of the test losses, or None: subwords alone have them."""
        losses = self.bests if split == "dev" else [run["test"] for run in self.runs]
        bits = [loss * run["per_byte"][split] for loss, run in zip(losses, self.runs) if split in run["per_byte"]]
        return Spread.of(bits) if bits else None

    def band(self, unit):
        """Returns [(step, Spread of the dev losses)] at the steps that every run has."""
        curves = [dict(run["curve"]) for run in self.runs]
        return [(step, Spread.of(unit(curve[step]) for curve in curves))
                for step in sorted(set.intersection(*(set(curve) for curve in curves)))]

    def steps_to(self, loss):
        """Returns the Spread of the steps to reach a dev loss, or None if a run does not reach it."""
        reached = [steps_to(run["curve"], loss) for run in self.runs]
        return None if None in reached else Spread.of(reached)

    def reached_by(self, loss):
        """Returns how many runs reach a dev loss."""
        return sum(steps_to(run["curve"], loss) is not None for run in self.runs)

    def reaches_at_once(self, loss):
        """Returns whether a run has reached a dev loss at its first evaluation, so that its cost is an upper bound."""
        return any(run["curve"][0][1] <= loss for run in self.runs)

    def worst_at(self, share):
        """Returns the dev loss that every run has reached after a share of its steps."""
        return max(best_until(run["curve"], share * run["steps"]) for run in self.runs)


def steps_to(curve, loss):
    """Returns the steps until the dev loss is first at most `loss`, by linear interpolation between evaluations.

    A loss that is reached before the first evaluation counts as reached there. Returns None if it is never reached.
    """
    before = None
    for step, value in curve:
        if value <= loss:
            if before is None:
                return float(step)
            step_before, value_before = before
            return step_before + (step - step_before) * (value_before - loss) / (value_before - value)
        before = (step, value)
    return None


def best_until(curve, steps):
    """Returns the least dev loss up to `steps`, by linear interpolation between evaluations."""
    best, before = math.inf, None
    for step, value in curve:
        if step > steps:
            if before is None:
                return value
            share = (steps - before[0]) / (step - before[0])
            return min(best, before[1] + share * (value - before[1]))
        best, before = min(best, value), (step, value)
    return best


def thresholds_of(results, reference):
    """Returns [(name, dev loss in nats)]: what the reference has reached along its way, and every model at its end.

    A threshold is the loss of the worst seed, so that every run of the model that gives it reaches it.
    """
    found = [(f"{reference.label} at {share:.0%} of its steps", reference.worst_at(share)) for share in (0.25, 0.5)]
    found += [(f"{result.label} at its end", max(result.bests)) for result in results]
    return sorted(found, key=lambda threshold: -threshold[1])


@dataclasses.dataclass(frozen=True)
class Ratios:
    """How much less a model needs than the reference to reach a loss: 2 is half as much.

    time = tokens x throughput: that of tokens is over seeds, that of throughput over the rounds of the measurement. The
    spread of a ratio reaches from its worst pair to its best pair.
    """

    tokens: Spread
    throughput: Spread
    time: Spread
    flops: Spread


def ratio(numerator, denominator, runs):
    return Spread(numerator.mean / denominator.mean, numerator.low / denominator.high, numerator.high / denominator.low,
                  runs)


def ratios_to(reference, result, loss):
    """Returns the Ratios at a dev loss, or None if a run of either model does not reach it."""
    own, other = result.steps_to(loss), reference.steps_to(loss)
    if own is None or other is None:
        return None
    runs = max(own.runs, other.runs)
    tokens = ratio(other.times(reference.tokens_per_step), own.times(result.tokens_per_step), runs)
    flops = ratio(other.times(reference.flops_per_step), own.times(result.flops_per_step), runs)
    rounds = [(result.tokens_per_step / ms) / (reference.tokens_per_step / reference_ms)
              for ms, reference_ms in zip(result.ms, reference.ms)]
    throughput = Spread(statistics.median(rounds), min(rounds), max(rounds), len(rounds))
    time = Spread(tokens.mean * throughput.mean, tokens.low * throughput.low, tokens.high * throughput.high,
                  max(runs, len(rounds)))
    return Ratios(tokens, throughput, time, flops)


def reach_table(results, reference):
    """Returns a row for each threshold and model: (name, loss, result, steps or None, Ratios or None)."""
    return [(name, loss, result, result.steps_to(loss),
             None if result is reference else ratios_to(reference, result, loss))
            for name, loss in thresholds_of(results, reference) for result in results]
