"""The command line: what to do, where, and for how long."""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import sys
import time

from compare.files import Failure
from gpu import machine, pack, plan, process, report
from gpu.stage import Check, Stage

QUICK = 480 - 10  # seconds of --quick; a little is left for the last report


def seconds(text):
    """Returns the seconds of a duration such as 90, 90s, 8m or 2h."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not match or float(match.group(1)) <= 0:
        raise argparse.ArgumentTypeError("'%s' is no duration; give 90s, 8m or 2h" % text)
    return float(match.group(1)) * {"": 1, "s": 1, "m": 60, "h": 3600}[match.group(2)]


def parser_of(manual):
    parser = argparse.ArgumentParser(prog="gpu_check", description=manual, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--run", action="store_true", help="run what is built; the default in an unpacked archive")
    mode.add_argument("--build", action="store_true", help="build for this machine's GPU alone, then run; the default elsewhere, but not for --rehearse")
    mode.add_argument("--pack", metavar="FILE", help="build, and write the archive FILE.tar.xz, or FILE.tar, which is not compressed")
    parser.add_argument("--quick", action="store_true", help="what fits 8 minutes")
    parser.add_argument("--limit", type=seconds, help="time for all stages, such as 8m [with --quick 7m50s, else none]")
    parser.add_argument("--out", metavar="DIR", help="folder for everything [runs/gpu-check-DATE]")
    parser.add_argument("--only", metavar="STAGE,...", help="these stages, and `machine`, which always runs")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU and with tiny sizes, to try the check itself")
    parser.add_argument("--programs", metavar="DIR", help="the folder that the programs were built in [build]")
    parser.add_argument("--prefix", metavar="DIR", help="build against packages unpacked into DIR (see tools/setup)")
    parser.add_argument("--level", type=int, default=6, choices=range(10), metavar="0-9", help="effort of compression [6]")
    parser.add_argument("-D", action="append", default=[], metavar="NAME=VALUE", dest="definitions", help="goes to cmake")
    return parser


def commit(root):
    try:
        return json.loads((root / "manifest.json").read_text())["commit"]
    except (OSError, ValueError, KeyError):
        return pack.commit_of(root)


# --- building --------------------------------------------------------------------------------------------------------


def setup_command(root, args, definitions):
    command = [str(root / "tools/setup")] + (["--prefix=" + os.path.abspath(args.prefix)] if args.prefix else [])
    return command + ["-DTANDEM_CUDA=ON"] + definitions + ["-D" + text for text in args.definitions]


def for_this_gpu(python):
    """Returns definitions for this machine: the code of its GPU alone, and cuDNN from PyTorch's wheel if the toolkit has none."""
    capability = machine.gpus()[0]["compute_cap"].replace(".", "")
    definitions = ["-DCMAKE_CUDA_ARCHITECTURES=%s-real" % capability]
    folders = machine.library_folders(python)
    if any(os.path.exists(os.path.join(folder, "libcudnn.so")) for folder in folders):
        return definitions
    found = machine.find_libraries({"cuDNN": "libcudnn.so.9"}, folders).get("cuDNN")
    header = found and os.path.join(os.path.dirname(os.path.dirname(found)), "include")
    if header and os.path.exists(os.path.join(header, "cudnn.h")):
        definitions += ["-DTANDEM_cudnn_LIBRARY=" + found, "-DTANDEM_cudnn_INCLUDE=" + header]
    return definitions


def build_targets(programs):
    return ["cmake", "--build", str(programs), "--target"] + pack.TARGETS


def build_stage(root, args, python):
    """Returns the stage that builds with tools/setup, and then the tests, which setup does not build in one program."""
    return Stage("build", [setup_command(root, args, for_this_gpu(python)), build_targets(root / "build")], 120,
                 300 if args.quick else 3600)


def write_archive(root, args):
    programs = pathlib.Path(args.programs).resolve() if args.programs else root / "build"
    commands = [] if args.programs else [setup_command(root, args, [])]
    log = os.path.abspath(args.pack) + ".log"
    open(log, "wb").close()
    for command in commands + [build_targets(programs)]:
        if process.run(command, log, 7200, folder=str(root)) != 0:
            with open(log, errors="replace") as file:
                raise Failure("%s failed, and said: %s" % (process.shown(command), " | ".join(file.read().splitlines()[-5:])))
    pack.write(root, programs, os.path.abspath(args.pack), args.level)
    os.remove(log)


# --- running ---------------------------------------------------------------------------------------------------------


def out_folder(root, args):
    """Makes and returns the folder for the results; none that exists is written into, unless it is empty."""
    if args.out:
        path = pathlib.Path(args.out).absolute()
        if path.exists() and any(path.iterdir()):
            raise Failure("--out=%s: the folder is not empty; name another" % args.out, 2)
    else:
        name = "gpu-check-" + time.strftime("%Y-%m-%d")
        tries = [root / "runs" / (name + ("" if n == 1 else "-%d" % n)) for n in range(1, 1000)]
        path = next(candidate for candidate in tries if not candidate.exists())
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure("cannot make the folder %s: %s; name another with --out" % (path, error.strerror)) from error
    return str(path)


def check_only(only, names):
    """Failure: --only, which may be None, names a stage that is not among `names`."""
    unknown = sorted(set(only.split(",")) - set(names)) if only is not None else []
    if unknown:
        raise Failure("--only=%s: there is no stage '%s'; there are %s" % (only, unknown[0], ", ".join(names)), 2)


def chosen(stages, only):
    """Returns the stages that --only names, or all if it is None."""
    return [stage for stage in stages if only is None or stage.name in only.split(",")]


def stop(number, frame):
    raise process.Stopped()


def run_check(root, args, python):
    """Runs the stages. Returns whether all that ran passed."""
    check_only(args.only, plan.stage_names(args.quick, args.rehearse))
    out = out_folder(root, args)
    programs = os.path.abspath(args.programs) if args.programs else str(root / "build")
    header = {"date": time.strftime("%Y-%m-%d %H:%M:%S"), "command": process.shown(["tools/gpu_check"] + sys.argv[1:]),
              "rehearsal": args.rehearse}
    predicted = report.load_predictions()
    work = plan.Plan(str(root), programs, out, python, args.quick, args.rehearse)
    work.facts["commit"] = commit(root)
    limit = args.limit or (QUICK if args.quick else None)
    check = Check(out, limit, lambda results: report.write(out, header, work.facts, results, predicted))
    signal.signal(signal.SIGTERM, stop)
    try:
        if args.build:
            check.run([build_stage(root, args, python)])
        check.run([work.machine_stage()])
        if check.ok():  # without programs or a GPU nothing else can run
            check.run(chosen(work.stages(), args.only))
    except (KeyboardInterrupt, process.Stopped):
        print("report: %s/report.md" % out)
        raise Failure("stopped by a signal; the report has what ended before", 3) from None
    finally:
        shutil.rmtree(os.path.join(out, "cache"), ignore_errors=True)
    print("report: %s/report.md" % out)
    return check.ok()


def main(manual, root):
    args = parser_of(manual).parse_args()
    python = os.environ.get("PYTHON", "python3")
    args.build = args.build or not (args.run or args.pack or args.programs or args.rehearse
                                    or (root / "manifest.json").exists())
    try:
        if args.pack:
            write_archive(root, args)
        elif not run_check(root, args, python):
            sys.exit("gpu_check: not all that ran passed")
    except Failure as failure:
        print("error: %s" % failure, file=sys.stderr)
        sys.exit(failure.code)
    except KeyboardInterrupt:
        sys.exit(3)
