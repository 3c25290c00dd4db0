"""Kinds of faults in which something is missing: space on the disk, memory, a reader of the output."""
import os
import resource
import shutil
import signal
import subprocess

from campaign import CRASH, LOST, WRONG
from programs import TINY, Fault

KIB = 1024


def limit(what, most):
    """Returns a function that limits a resource of the process that calls it."""
    return lambda: resource.setrlimit(what, (most, most))


def disk(case):
    """The disk is full after some tens of KiB, or files may not grow beyond that; later there is space."""
    if case.random.random() < 0.5:
        refused = small_disk(case)
        if not refused:
            return
        case.campaign.notes.add(f"disk: files are limited, but there is no small file system: {refused}")
    if case.random.random() < 0.5:
        case.take_half()
    most = case.random.randint(2 * KIB, 90 * KIB)  # the OpenMP library of clang needs a file of 1 KiB for itself

    def prepare():
        limit(resource.RLIMIT_FSIZE, most)()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the system ends the process, which is its right

    ended = case.train(preexec_fn=prepare, restore_signals=False)
    case.hits += ended.code != 0
    case.judge_end(ended, files=[case.run.name])
    case.finish_after(ended)


def small_disk(case):
    """The same on a file system in memory of that size. Returns why there is none, or an empty text."""
    run, case.run = case.run, case.folder / "disk" / "run"
    case.run.parent.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={4 * case.random.randint(1, 60)}k", "tmpfs"]
    mounted = subprocess.run(["mount", *options, case.run.parent], capture_output=True, text=True)
    if mounted.returncode != 0:
        case.run = run
        return mounted.stderr.strip()
    try:
        ended = case.train()
        case.hits += ended.code != 0
        case.judge_end(ended, files=[case.run.name])
        subprocess.run(["mount", "-o", "remount,size=16m", case.run.parent], check=True)
        case.finish_after(ended)
        if case.found:
            shutil.copytree(case.run.parent, case.folder / "copy-of-disk")
    finally:
        subprocess.run(["umount", case.run.parent], check=True)
    return ""


def memory(case):
    """The address space is limited: the process ends with a message, and goes on when there is memory."""
    if case.random.random() < 0.3:
        case.take_half()
    least, enough = address_spaces(case)
    most = int(case.random.uniform(least, least + 1.3 * (enough - least)))
    ended = case.train(Fault(), preexec_fn=limit(resource.RLIMIT_AS, most))
    case.hits += ended.code != 0
    if not ended_by_library(ended):
        case.judge_end(ended)
    case.finish_after(ended)


def ended_by_library(ended):
    """Returns whether a library that does not report a lack of memory ended the process."""
    # clang's OpenMP library ends it where it cannot set itself up.
    if "OMP: Error" in ended.error:
        return True
    # oneDNN 2 and OpenSSL 3 use memory without a look at whether they got it.
    return ended.code == -signal.SIGSEGV and ".so" in ended.crashed_in


def address_spaces(case):
    """Returns the bytes of address space with which the program reaches its main(), and enough for a run, measured once.

    With less than the first, the loader and the constructors of libraries end the process.
    """
    campaign = case.campaign
    if not hasattr(campaign, "address_spaces"):
        arguments = {"least": ["--help"], "enough": [campaign.text, f"--out={case.folder}/measured", *TINY]}
        campaign.address_spaces = [smallest_that_works(case, arguments[name]) for name in ("least", "enough")]
    return campaign.address_spaces


def smallest_that_works(case, arguments):
    most = 32 << 20
    while case.call("train", arguments, Fault(), preexec_fn=limit(resource.RLIMIT_AS, most)).code != 0:
        most = most * 21 // 20
        shutil.rmtree(case.folder / "measured", ignore_errors=True)
    return most


def broken_stream(case, which):
    """Returns the options that start a process with its output closed, on a full device or into a pipe without reader."""
    stream, number = {"stdout": ("stdout", 1), "stderr": ("stderr", 2)}[which]
    how = case.random.choice(["closed", "full", "pipe"])
    if how == "closed":
        return how, {"preexec_fn": lambda: os.close(number)}
    if how == "full":
        return how, {stream: os.open("/dev/full", os.O_WRONLY)}
    reader, writer = os.pipe()
    os.close(reader)
    return how, {stream: writer}


def close_files(options):
    for value in options.values():
        if isinstance(value, int):
            os.close(value)


def streams(case):
    """Nobody takes a program's output: the files of a run are whole, and other programs say so or go on."""
    if case.random.random() < 0.5:
        return other_streams(case)
    which = case.random.choice(["stdout", "stderr"])
    how, options = broken_stream(case, which)
    ended = case.train(**options)
    close_files(options)
    case.hits += 1
    if ended.code is None or ended.code < 0:
        case.find(CRASH, f"train with {which} {how} {ended.describe()}")
    elif ended.code not in (0, 1):
        case.find(WRONG, f"train with {which} {how} {ended.describe()}")
    for text in case.campaign.truth.differences(case.run):
        case.find(LOST, f"train with {which} {how}: {text}")
    return None


def other_streams(case):
    """A program whose output is its purpose fails if its stdout cannot be written, and does not need its stderr."""
    best = case.campaign.half / "best.safetensors"
    program, arguments = case.random.choice([
        ("evaluate", [f"--checkpoint={best}", f"--corpus={case.campaign.text}"]),
        ("evaluate", [f"--checkpoint={best}", f"--corpus={case.campaign.text}", "--json"]),
        ("generate", [f"--checkpoint={best}", "--prompt=tape", "--bytes=40"]),
        ("explore", [best, f"--text={case.campaign.text}", f"--out={case.folder}/page.html"]),
        ("quantize", [best, f"--out={case.folder}/quantized", "--bits=4"]),
        ("prune", [best, f"--out={case.folder}/pruned", "--sparsity=50"]),
        ("train", [case.campaign.text, "--describe"]),
        ("train", ["--help"])])
    which = case.random.choice(["stdout", "stdout", "stderr"])
    how, options = broken_stream(case, which)
    ended = case.call(program, arguments if arguments == ["--help"] else [*arguments, "--device=cpu"], **options)
    close_files(options)
    case.hits += 1
    allowed = [0 if which == "stderr" else 1] + [-signal.SIGPIPE] * (how == "pipe")  # as pipes end most programs
    if ended.code not in allowed:
        crashed = ended.code is None or ended.code < 0
        case.find(CRASH if crashed else WRONG, f"{program} {arguments[-1]} with {which} {how} {ended.describe()}")
    elif ended.code == 1 and "error: " not in ended.error:
        case.find(WRONG, f"{program} with {which} {how} ends with 1 and without a message")
