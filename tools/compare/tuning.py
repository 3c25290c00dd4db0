"""Tuning: successive halving over short runs, each with a complete schedule of its own, under one budget for all.

The budget of a model is K times that of one of its final runs. Its runs come in three rounds; those of a round are as
long as each other, and those of the next twice as long:

    1. every variant of the model at every rate of the ladder;
    2. the better half; and the best one with each change of the recipe by itself;
    3. the better half again; and the best one of round 1 with all changes of the recipe together that helped it.

As long as the best candidate of round 1 is at an edge of its ladder, the ladder is extended there. Round 3 goes on
until the best candidate is better than itself at half and at twice its rate. The plan reserves two runs for either;
what is needed beyond them is spent beyond the budget, and shown.
"""
import math

from compare.files import Failure
from compare.space import LADDER, LONGEST_LADDER, Candidate

RESERVE = 2  # runs of the first and the last round that are planned for rates outside of the ladder
LENGTHS = (1, 2, 4)  # of the runs of the rounds, relative to each other


def planned_runs(space):
    """Returns the number of runs of each round."""
    first = len(space.variants) * len(LADDER)
    second = math.ceil(first / 2) + len(space.alternatives)
    return first + RESERVE, second, math.ceil(second / 2) + RESERVE + 1


def shortest_share(space, budget):
    """Returns the length of a run of round 1 as a share of a final run, such that the plan takes `budget` of them."""
    cost = sum(runs * length for runs, length in zip(planned_runs(space), LENGTHS))
    return min(budget / cost, 1 / LENGTHS[-1])


class Search:
    """The search for the best candidate of one model.

    `evaluate(candidates, share)` trains each candidate for a share of a final run, and returns their dev losses in
    nats; a loss is infinite if the weights diverged.
    """

    def __init__(self, space, budget, evaluate):
        self.space = space
        self.evaluate = evaluate
        self.share = shortest_share(space, budget)
        self.scores = {}  # of the round that runs now
        self.trials = []  # (round, share, candidate, score) in the order in which they were asked for
        self.round = 0
        self.at_edge = False  # whether the best rate is the last of the longest ladder

    def spent(self):
        return sum(share for _, share, _, _ in self.trials)

    def run(self, candidates):
        """Evaluates candidates that this round does not have yet."""
        new = [candidate for candidate in dict.fromkeys(candidates) if candidate not in self.scores]
        share = self.share * LENGTHS[self.round - 1]
        for candidate, score in zip(new, self.evaluate(new, share)):
            self.scores[candidate] = score
            self.trials.append((self.round, share, candidate, score))

    def begin_round(self, candidates):
        self.round += 1
        self.scores = {}
        self.run(candidates)

    def ranked(self):
        """Returns the candidates of this round, the best first; among equal ones the lowest rate comes first."""
        return sorted(self.scores, key=lambda candidate: (self.scores[candidate], candidate.rung))

    def settle_rate(self):
        """Adds rates to this round until the best candidate is better than itself at half and at twice its rate."""
        while True:
            best = self.ranked()[0]
            missing = [best.at(best.rung + step) for step in (-1, 1) if best.at(best.rung + step) not in self.scores]
            possible = [candidate for candidate in missing if abs(candidate.rung) <= LONGEST_LADDER]
            if not possible:
                self.at_edge = bool(missing)
                return best
            self.run(possible)

    def best(self):
        """Runs the search and returns the best candidate. Error: every candidate diverged."""
        self.begin_round(Candidate(rung, variant) for variant in self.space.variants for rung in LADDER)
        leader = self.settle_rate()
        if not math.isfinite(self.scores[leader]):
            raise Failure("every run of the tuning diverged, down to "
                          f"lr {self.space.rate(leader):.3g}; give another lr or clip")
        half = math.ceil(len(self.space.variants) * len(LADDER) / 2)
        changed = {change: leader.with_change(change) for change in self.space.alternatives}
        self.begin_round([*self.finite(half), *changed.values()])
        helped = {}
        for change, candidate in changed.items():
            name, value = change
            if self.scores[candidate] < min(self.scores[leader], self.scores.get(helped.get(name), math.inf)):
                helped[name] = candidate
        together = leader
        for name, candidate in helped.items():
            together = together.with_change((name, dict(candidate.changes)[name]))
        self.begin_round([*self.finite(math.ceil(planned_runs(self.space)[1] / 2)), together])
        return self.settle_rate()

    def finite(self, most):
        """Returns the best candidates of this round whose loss is finite."""
        return [candidate for candidate in self.ranked()[:most] if math.isfinite(self.scores[candidate])]
