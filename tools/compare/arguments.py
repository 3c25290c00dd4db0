"""The command line of compare_models."""
import argparse
import os
import pathlib
import re

from compare.files import Failure


def quantity(text):
    """Returns 5m, 90s or 2h in seconds; 4M, 2.5G or 1e15 as a number."""
    match = re.fullmatch(r"([0-9.]+(?:e[+-]?[0-9]+)?)([a-zA-Z]?)", text)
    scale = {"": 1, "s": 1, "m": 60, "h": 3600, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
    if not match or match[2] not in scale:
        raise argparse.ArgumentTypeError(f"{text} is not a quantity; give 5m, 90s, 4M or 1e15")
    value = float(match[1]) * scale[match[2]]
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def count(text):
    """Returns a whole number of at least 1."""
    if not re.fullmatch(r"[0-9]+", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def parse_arguments(manual, root):
    """Parses sys.argv. `root` is the source tree, whose build holds the default program."""
    parser = argparse.ArgumentParser(description=manual, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="[LABEL@]MODEL[:PRESET][+FLAG=VALUE...]")
    parser.add_argument("--corpus", default="gcide", help="name or path of the text [gcide]")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--budget", type=quantity, help="training time: 90s, 10m, 2h")
    budget.add_argument("--flops", type=quantity, help="training FLOPs: 1e15, 20T")
    budget.add_argument("--tokens", type=quantity, help="training tokens: 4M")
    parser.add_argument("--preset", default="laptop", help="preset of models that name none [laptop]")
    parser.add_argument("--flag", action="append", default=[], metavar="NAME=VALUE",
                        help="a flag of train for every run")
    parser.add_argument("--context", type=count, metavar="N",
                        help="segment, memory and evaluation window of N tokens for every model [those of the presets]")
    parser.add_argument("--seeds", type=count, default=1, metavar="N", help="runs of each model [1]")
    parser.add_argument("--tune", type=quantity, metavar="K",
                        help="tune every model first, with short runs that take K budgets in all [no tuning]")
    parser.add_argument("--settle-rates", action="store_true",
                        help="settle the learning rate of every model by complete runs at half and twice of it")
    parser.add_argument("--reference", metavar="MODEL", help="the model that others are measured against [the first]")
    parser.add_argument("--evaluations", type=count, default=12, metavar="N", help="points of a curve [12]")
    parser.add_argument("--step-times", type=pathlib.Path, metavar="FILE",
                        help="times of steps that were measured before; missing ones are added [OUT/step_times.json]")
    parser.add_argument("--step-rounds", type=count, default=3, metavar="N",
                        help="rounds in which the steps of all models are timed in turn [3]")
    parser.add_argument("--jobs", type=count, default=1, metavar="N",
                        help="runs that train side by side and share the processor's cores [1]")
    parser.add_argument("--out", type=pathlib.Path, help="folder [runs/compare-CORPUS]")
    parser.add_argument("--train", type=pathlib.Path, help="the program [build/tools/train beside this script]")
    arguments = parser.parse_args()
    if arguments.out is None:
        arguments.out = pathlib.Path("runs") / f"compare-{pathlib.Path(arguments.corpus).name}"
    if arguments.train is None:
        arguments.train = root / "build/tools/train"
    if arguments.step_times is None:
        arguments.step_times = arguments.out / "step_times.json"
    if not arguments.train.exists():
        raise Failure(f"there is no {arguments.train}; build with tools/setup, or give --train")
    cores = os.cpu_count() or 1
    if arguments.jobs > cores:
        raise Failure(f"--jobs={arguments.jobs}: there are {cores} cores; give at most {cores}", 2)
    return arguments


def budget_text(arguments):
    if arguments.tokens:
        return f"{arguments.tokens:,.0f} training tokens each"
    if arguments.flops:
        return f"{arguments.flops:.3g} training FLOPs each"
    return f"{arguments.budget:g} s of training each"
