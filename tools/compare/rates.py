"""Rates of learning settled by complete runs, since short runs favour rates that are too high for long ones."""
from compare.runs import Run
from compare.space import LONGEST_LADDER
from compare.trials import as_json


def missing(losses):
    """Returns the rungs to try next, given {rung: loss} of the complete runs so far: none if the best is settled.

    Half of the best rate is tried before twice of it, since rates found by short runs err upwards.
    """
    best = best_of(losses)
    if best - 1 not in losses:
        wanted = {best, best - 1} - losses.keys()
    else:
        wanted = {best + 1} - losses.keys()
    return sorted(rung for rung in wanted if abs(rung) <= LONGEST_LADDER)


def best_of(losses):
    """Returns the rung of the least loss, and of equal ones the lowest; 0 if there is none yet."""
    return min(losses, key=lambda rung: (losses[rung], rung), default=0)


def settle(tuned, program):
    """Trains the first seed of every model at half and at twice its rate until the best rate is better than both, and
    sets that rate for its final runs."""
    losses = {one: {} for one in tuned}

    def train(wanted):
        one, run, rung = wanted
        print(f"{one.model.label}: {one.space.text(one.candidate(rung))} ...", flush=True)
        run.train(program)
        return one, rung, run.last_loss()

    while True:
        wanted = []
        for one in tuned:
            for rung in missing(losses[one]):
                one.set_rung(rung)
                wanted.append((one, Run(one, 0), rung))
        if not wanted:
            break
        for one, rung, loss in program.map(train, wanted):
            losses[one][rung] = loss
    for one in tuned:
        one.set_rung(best_of(losses[one]))
        one.complete = {one.space.rate(one.candidate(rung)): as_json(loss) for rung, loss in sorted(losses[one].items())}
        print(f"{one.model.label}: settled {one.space.text(one.candidate(one.rung))}", flush=True)
