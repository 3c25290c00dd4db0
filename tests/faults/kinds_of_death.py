"""Kinds of faults that end a process: kills at random moments and at each system call, and signals."""
import errno
import os
import signal

from campaign import CRASH, WRONG, signal_name
from programs import Fault
from truth import METRICS, rows_of

STOPPED = 3  # exit code of a run that a signal stopped in an orderly manner
STOPPING = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU]


def kill(case):
    """The run is killed at random moments, several times, and resumed each time."""
    for _ in range(case.random.randint(1, 6)):
        process = case.start_train()
        process.wait(case.random.uniform(0, 1.2 * case.campaign.seconds))
        if process.send(signal.SIGKILL):
            case.hits += 1
        ended = process.end()
        if ended.code not in (0, -signal.SIGKILL):
            case.judge_end(ended, codes=(0,))
        case.check_whole()
    case.finish_run()


def kill_at(case):
    """A new or a resumed run is killed before a call or in the middle of a write; half of them again when resumed."""
    point, action = case.campaign.in_turn(
        case.kind, case.number, lambda point: ["kill", "tear"] if point.call == "write" else ["kill"])
    if point.resumed:
        case.take_half()
    faults = [Fault(action, point.number)]
    if case.random.random() < 0.5:
        faults.append(Fault(case.random.choice(["kill", "tear", "kill-after"]), case.random.randint(1, 400)))
    for fault in faults:
        ended = case.train(fault)
        case.hits += bool(ended.hits)
        if ended.code not in (0, -signal.SIGKILL):
            case.judge_end(ended, codes=(0,))
        case.check_whole()
    case.finish_run()


def power(case):
    """The machine stops at a call: of the metrics, whose rows are appended, only what was synced is sure to be there."""
    point, action = case.campaign.in_turn(
        case.kind, case.number, lambda point: [] if point.resumed or point.call == "stat" else ["kill"])
    process = case.start_train(Fault(action, point.number))
    case.hits += bool(process.end().hits)
    calls = [(call, path) for number, call, path in process.calls() if int(number) < point.number]
    metrics = str(case.run / METRICS)
    synced = max((i for i, call in enumerate(calls) if call == ("fsync", metrics)), default=0)
    rows = calls[:synced].count(("write", metrics))
    if (case.run / METRICS).exists():
        lines = (case.run / METRICS).read_bytes().splitlines(keepends=True)
        sure = sum(map(len, lines[:rows]))
        os.truncate(case.run / METRICS, case.random.randint(sure, sum(map(len, lines))))
    case.finish_run()


# What may go wrong with each call. Only these may go wrong from one call on: a call that is interrupted or short is
# repeated, which would never end.
LASTING = ("ENOSPC", "EIO", "EDQUOT", "EMFILE")
ERRORS = {
    "write": ["ENOSPC", "EIO", "EDQUOT", "EINTR", "short"], "read": ["EIO", "EINTR", "short"],
    "open": ["EMFILE", "ENOSPC", "EIO", "EINTR"], "fsync": ["EIO", "ENOSPC", "EDQUOT", "EINTR"],
    "ftruncate": ["EIO", "ENOSPC", "EINTR"], "rename": ["ENOSPC", "EIO", "EDQUOT"], "mkdir": ["ENOSPC", "EIO"],
    "unlink": ["EIO"], "flock": ["EINTR", "EIO"], "close": ["EIO", "ENOSPC", "EINTR"], "stat": ["EIO"]}


def error_at(case):
    """A call of a new or a resumed run fails, once or from then on, alone or with all other calls on the run's files."""
    point, name = case.campaign.in_turn(case.kind, case.number, lambda point: ERRORS[point.call])
    if point.resumed:
        case.take_half()
    action = "short" if name == "short" else f"error={getattr(errno, name)}"
    fault = case.random.choice([
        Fault(action, point.number), Fault(action, point.number, repeat=name in LASTING),
        Fault(action, point.number_of_kind, calls=point.call, repeat=name in LASTING)])
    ended = case.train(fault)
    case.hits += bool(ended.hits)
    case.judge_end(ended, files=ended.files_hit())
    case.finish_after(ended)


def steps_in(run):
    """Returns how many steps the metrics of a run have so far."""
    try:
        return sum('"loss"' in row for row in rows_of(run))
    except (OSError, ValueError):
        return 0


def judge_signal(case, ended, sent, training):
    """Checks the end after signals: those that stop a run save it first if it is training, a second one may kill it."""
    died = ended.code is not None and ended.code < 0
    stopping = [number for number in sent if number != signal.SIGPIPE]
    if died and (-ended.code not in sent or (training and sent == [signal.SIGPIPE])):
        case.find(CRASH, f"signals {sent}: {ended.describe()}")
    elif died and training and len(sent) == 1:
        case.find(CRASH, f"{signal_name(ended.code)} ends the process instead of stopping the run")
    elif not died:
        case.judge_end(ended, codes=(0, STOPPED) if stopping else (0,))
        if ended.code == STOPPED and "--resume" not in ended.output + ended.error:
            case.find(WRONG, f"no word of how to go on: {ended.describe()}")


def signals(case):
    """One signal, or two within 50 ms, at random moments or at a call of a checkpoint; then the run goes on."""
    first = case.random.choice([*STOPPING, signal.SIGPIPE])
    if case.random.random() < 0.3:
        point = case.random.choice([point for point in case.campaign.points if not point.resumed])
        ended = case.train(Fault(f"signal={int(first)}", point.number))
        case.hits += bool(ended.hits)
        judge_signal(case, ended, [first], 1 <= steps_in(case.run) < 60)
        return case.finish_after(ended)
    process = case.start_train()
    process.wait(case.random.uniform(0, case.campaign.seconds))
    training = steps_in(case.run) > 0
    sent = [first] if process.send(first) else []
    case.hits += bool(sent)
    if sent and case.random.random() < 0.5:
        process.wait(case.random.uniform(0.001, 0.05))
        second = case.random.choice([*STOPPING, signal.SIGPIPE])
        sent += [second] if process.send(second) else []
    ended = process.end()
    judge_signal(case, ended, sent, training and steps_in(case.run) < 60)
    return case.finish_after(ended)
