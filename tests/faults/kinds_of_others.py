"""Kinds of faults with more than one process, and those of programs other than train."""
import errno
import json
import re
import signal

from campaign import CRASH, LOST, WRONG
from programs import TINY, Fault


def two(case):
    """Two processes at once: never do two write into one folder, and a reader never sees half a file."""
    case.random.choice([two_new, two_in_one_folder, two_resumed, train_and_evaluate])(case)


def both(case, first, second):
    """Starts two processes a moment apart, and returns how they ended."""
    processes = [case.start("train", first)]
    processes[0].wait(case.random.choice([0, 0, case.random.uniform(0, case.campaign.seconds)]))
    case.hits += processes[0].running()
    processes.append(case.start("train", second))
    return [process.end() for process in processes]


def judge_second(case, ends):
    """Checks that one of two succeeded, and that the other did, too, or says who was there first."""
    if all(ended.code != 0 for ended in ends):
        case.find(WRONG, f"neither succeeds: {ends[0].describe()}; {ends[1].describe()}")
    for ended in ends:
        case.judge_end(ended)
        # The first process is "another process" until it has written its number into the lock.
        if ended.code == 1 and not re.search(r"process \d+|another process|holds a run already", ended.error):
            case.find(WRONG, f"no word of the other process: {ended.describe()}")


def two_new(case):
    """Without --out, each process takes a folder of its own."""
    arguments = [case.campaign.text, "--device=cpu", *TINY]
    ends = both(case, arguments, arguments)
    judge_second(case, ends)
    done = [run for run in sorted(case.folder.glob("runs/*")) if (run / "last.safetensors").exists()]
    if len(done) != sum(ended.code == 0 for ended in ends):
        case.find(LOST, f"{len(done)} folders of {sum(ended.code == 0 for ended in ends)} runs")
    for run in done:
        case.check_done(run)


def two_in_one_folder(case):
    arguments = [case.campaign.text, "--device=cpu", f"--out={case.run}", *TINY]
    judge_second(case, both(case, arguments, arguments))
    case.check_done()


def two_resumed(case):
    case.take_half()
    case.resumed += 2
    arguments = [case.campaign.text, "--device=cpu", f"--resume={case.run}", "--sample-bytes=0"]
    judge_second(case, both(case, arguments, arguments))
    case.check_done()


def train_and_evaluate(case):
    """evaluate reads the checkpoint that train replaces again and again."""
    training = case.start_train()
    best = case.run / "best.safetensors"
    while training.running():
        there = best.exists()
        ended = case.call("evaluate", [f"--checkpoint={best}", f"--corpus={case.campaign.text}", "--device=cpu", "--json"])
        case.hits += there
        if ended.code is None or ended.code < 0:
            case.find(CRASH, f"evaluate {ended.describe()}")
        elif there and ended.code != 0:
            case.find(LOST, f"evaluate {ended.describe()}")
        elif not there and ended.code == 1 and "best.safetensors" not in ended.error:
            case.find(WRONG, f"evaluate {ended.describe()}")
    case.finish_after(training.end())


PRUNING = ["--sparsity=30,60", "--finetune-steps=20", "--device=cpu", "--precision=f32"]


def prune(case):
    """prune with fine-tuning is killed at random calls on its files, or these fail, and the same command goes on."""
    restarted(case, "prune", PRUNING, ["prune.json", "sparsity-30.safetensors", "sparsity-60.safetensors"])


def quantize(case):
    """quantize is killed at random calls on its files, or these fail, and the same command begins again."""
    restarted(case, "quantize", ["--bits=8,4", "--device=cpu"], ["8-bit.safetensors", "4-bit.safetensors"])


def undisturbed(case, program, command):
    """Returns the folder, the last table and the number of calls of an undisturbed command, which is run once."""
    known = case.campaign.__dict__.setdefault("undisturbed", {})
    if program not in known:
        folder = case.campaign.work / f"{program}-undisturbed"
        process = case.start(program, [*command, f"--out={folder}"], Fault(path=str(folder)))
        ended = process.end()
        case.must(ended)
        known[program] = folder, table_of(ended.output), len(process.calls())
    return known[program]


def table_of(output):
    """Returns the lines of the table that a program prints last, without blanks and times."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    return [line for line in lines[len(lines) - lines[::-1].index("") if "" in lines else 0:] if line]


def restarted(case, program, options, files):
    command = [case.campaign.half / "best.safetensors", *options]
    expected, table, calls = undisturbed(case, program, command)
    out = case.folder / "out"
    for _ in range(case.random.randint(1, 3)):
        action = case.random.choice(["kill", "tear", "kill-after", f"error={errno.ENOSPC}", f"error={errno.EIO}"])
        ended = case.call(program, [*command, f"--out={out}"],
                          Fault(action, case.random.randint(1, calls), path=str(out)))
        case.hits += bool(ended.hits)
        if action.startswith("error") or ended.code not in (0, -signal.SIGKILL):
            case.judge_end(ended, codes=(0, 1) if action.startswith("error") else (0,), files=ended.files_hit())
    case.resumed += 1
    ended = case.call(program, [*command, f"--out={out}"])
    if ended.code != 0:
        return case.find(LOST, f"the same command cannot go on: {ended.describe()}")
    for name in files:
        if not (out / name).exists() or (out / name).read_bytes() != (expected / name).read_bytes():
            case.find(LOST, f"{name} differs from that of the undisturbed command")
    if table_of(ended.output) != table:
        case.find(LOST, f"the table differs: {json.dumps(table_of(ended.output))}, not {json.dumps(table)}")
    return None
