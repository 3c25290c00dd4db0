"""The command line of tools/report."""
import argparse
import math
import pathlib
import sys
import time

from compare.files import Failure, replace
from report_page.body import report
from report_page.run import Run, name_apart


def parse_arguments(manual):
    parser = argparse.ArgumentParser(description=manual, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=pathlib.Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--out", type=pathlib.Path, metavar="PAGE.html", help="the page [report.html in the first RUN]")
    parser.add_argument("--watch", type=seconds, nargs="?", const=20, metavar="SECONDS",
                        help="write the page again and again, every 20 or so many seconds, until all runs are over; "
                             "it loads itself again, too")
    return parser.parse_args()


def seconds(text):
    """Returns a time of more than 0 seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def write_page(arguments, out):
    """Writes the page. Returns whether all runs are over."""
    runs = [Run(folder) for folder in arguments.runs]
    name_apart(runs)
    over = all(run.is_over() for run in runs)
    try:
        replace(out, report(runs, 0 if over or arguments.watch is None else arguments.watch))
    except OSError as error:
        raise Failure(f"{out}: cannot be written: {error.strerror}") from error
    return over


def main(manual):
    """Writes the page, and ends with the exit code of the programs: 0 done, 1 failure, 2 wrong usage, 3
    stopped by Ctrl-C."""
    try:
        arguments = parse_arguments(manual)
        out = arguments.out or arguments.runs[0] / "report.html"
        over = write_page(arguments, out)
        print(f"page: {out}", flush=True)
        while arguments.watch is not None and not over:
            time.sleep(arguments.watch)
            over = write_page(arguments, out)
    except Failure as failure:
        print(f"tools/report: {failure}", file=sys.stderr)
        sys.exit(failure.code)
    except KeyboardInterrupt:
        sys.exit(3)
