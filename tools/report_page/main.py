"""The command line of tools/report."""
import argparse
import pathlib
import sys

from compare.files import Failure, replace
from report_page.body import report
from report_page.run import Run, name_apart


def parse_arguments(manual):
    parser = argparse.ArgumentParser(description=manual, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=pathlib.Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--out", type=pathlib.Path, metavar="PAGE.html", help="the page [report.html in the first RUN]")
    return parser.parse_args()


def main(manual):
    """Writes the page, and ends with the exit code of the programs: 0 done, 1 failure, 2 wrong usage."""
    try:
        arguments = parse_arguments(manual)
        runs = [Run(folder) for folder in arguments.runs]
        name_apart(runs)
        out = arguments.out or arguments.runs[0] / "report.html"
        try:
            replace(out, report(runs))
        except OSError as error:
            raise Failure(f"{out}: cannot be written: {error.strerror}") from error
        print(f"page: {out}")
    except Failure as failure:
        print(f"tools/report: {failure}", file=sys.stderr)
        sys.exit(failure.code)
