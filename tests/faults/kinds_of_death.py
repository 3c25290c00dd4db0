"""Kinds of faults that end a process: kills at random moments and at each system call, and signals."""
import errno
import pathlib
import signal

from campaign import CRASH, WRONG, signal_name
from programs import Fault
from truth import rows_of

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
    resumed, number, action, _ = case.campaign.in_turn(
        [(resumed, number, action, call) for resumed, number, call in case.campaign.points
         for action in ("kill", "tear") if action == "kill" or call == "write"], case.number, case.kind)
    if resumed:
        case.take_half()
    faults = [Fault(action, number)]
    if case.random.random() < 0.5:
        faults.append(Fault(case.random.choice(["kill", "tear", "kill-after"]), case.random.randint(1, 400)))
    for fault in faults:
        ended = case.train(fault)
        case.hits += bool(ended.hits)
        if ended.code not in (0, -signal.SIGKILL):
            case.judge_end(ended, codes=(0,))
        case.check_whole()
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
    resumed, number, call, name = case.campaign.in_turn(
        [(resumed, number, call, name) for resumed, number, call in case.campaign.points for name in ERRORS[call]],
        case.number, case.kind)
    if resumed:
        case.take_half()
    action = "short" if name == "short" else f"error={getattr(errno, name)}"
    ended = case.train(Fault(action, number, repeat=name in LASTING and case.random.random() < 0.5))
    case.hits += bool(ended.hits)
    files = {pathlib.Path(hit.split(" ", 2)[2]).name.removesuffix(".tmp") for hit in ended.hits}
    case.judge_end(ended, files=sorted(files))
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
        resumed, number, _ = case.random.choice([point for point in case.campaign.points if not point[0]])
        ended = case.train(Fault(f"signal={int(first)}", number))
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
