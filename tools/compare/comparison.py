"""The course of a comparison: times of steps, tuning, runs, and the page after every run."""
import signal
import sys

from compare import step_times
from compare.arguments import parse_arguments
from compare.files import Failure
from compare.model import Model, find_reference
from compare.program import Program
from compare.rates import settle
from compare.report import Report
from compare.results import Result
from compare.runs import Run
from compare.space import Candidate, space_of
from compare.trials import Tuned, write_tuning

MOST_LOWERINGS = 4  # of a rate that tuning found, after final runs that diverged


def configurations_of(models, tune):
    """Returns (label, command, facts) of everything whose steps have a time of their own: the models, and with tuning
    their variants, each with every optimizer that is tried."""
    found = []
    for model in models:
        facts = model.facts()
        candidates = [()]
        if tune:
            space = space_of(model.kind, facts, model.fixed(), 0)
            optimizers = [(), *((change,) for change in space.alternatives if change[0] == "optimizer")]
            candidates = [space.flags(Candidate(0, changes + optimizer))
                          for changes in space.variants for optimizer in optimizers]
        found += [(model.label, model.command(flags), model.facts(flags)) for flags in candidates]
    return found


def results_of(runs, times):
    """Returns the Result of every model that has a finished run."""
    done = {}
    for run in runs:
        if run.done:
            done.setdefault(run.model.label, []).append(run)
    return [Result(label, of_model[0].facts, [run.result() for run in of_model], times.ms(of_model[0].facts))
            for label, of_model in done.items()]


def compare(arguments, program):
    models = [Model(text, arguments, program) for text in arguments.models]
    if len({model.name for model in models}) != len(models):
        raise Failure("a model is named twice; give one a label: LABEL@MODEL", 2)
    reference = find_reference(models, arguments.reference)
    configurations = configurations_of(models, arguments.tune)  # reports a wrong name before the first run
    arguments.out.mkdir(parents=True, exist_ok=True)
    times = step_times.find(arguments.step_times, [facts for _, _, facts in configurations])
    if times is None:
        print("times of steps ...", flush=True)
        times = step_times.measure(arguments.step_times, configurations, program, arguments.out / "step-probe",
                                   arguments.step_rounds)
    tuned = [Tuned(model, arguments, times) for model in models]
    if arguments.tune:
        for one in tuned:
            print(f"{one.model.label}: tuning ...", flush=True)
            one.tune(program)
            write_tuning(arguments.out, tuned)
            print(f"{one.model.label}: found {one.found['found']}", flush=True)
    if arguments.settle_rates:
        settle(tuned, program)
    train_all(arguments, program, models, tuned, times, reference)
    print(f"page: {arguments.out / 'index.html'}")


def train_all(arguments, program, models, tuned, times, reference):
    """Trains every model with every seed, and writes the page after each run. Error: a run diverged in the end."""
    runs = [Run(one, index) for index in range(arguments.seeds) for one in tuned]

    def report():
        return Report(arguments, models, tuned, times, results_of(runs, times), reference,
                      [run for run in runs if run.diverged])

    def train(run):
        print(f"{run.model.label}, seed {run.seed} ...", flush=True)
        run.train(program)
        with program.lock:
            if run.diverged:
                print(f"{run.model.label}, seed {run.seed}: diverged", flush=True)
            if any(other.done for other in runs):
                report().write()

    program.map(train, runs)
    for _ in range(MOST_LOWERINGS):
        again = [one for one in tuned
                 if (one.found or one.complete) and any(run.diverged and run.tuned is one for run in runs)]
        for one in again:  # all seeds of a model have one rate
            one.lower_rate()
        runs[:] = [Run(run.tuned, run.index) if run.tuned in again else run for run in runs]
        program.map(train, [run for run in runs if run.tuned in again])
    if any(run.done for run in runs):
        report().write()
        report().say()
    diverged = sorted({run.model.label for run in runs if run.diverged})
    if diverged:
        raise Failure(f"{', '.join(diverged)}: a run diverged; give a lower lr and another --out")


def main(manual, root):
    """Runs compare_models, and ends with its exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        arguments = parse_arguments(manual, root)
        program = Program(arguments.train, arguments.jobs)
        compare(arguments, program)
    except Failure as failure:
        print(f"tools/compare_models: {failure}", file=sys.stderr)
        sys.exit(failure.code)
    except KeyboardInterrupt:
        print("tools/compare_models: stopped; the same command again goes on", file=sys.stderr)
        sys.exit(3)
