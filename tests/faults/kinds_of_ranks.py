"""Kinds of faults in a run of several processes, the ranks: one of them dies, hangs, fails or is asked to stop.

The run begins on two to four ranks, and goes on after the fault on another number or without a launcher. Whatever the
numbers, its files must be those of one process.
"""
import errno
import os
import pathlib
import re
import signal
import time

from campaign import CRASH, WRONG, signal_name
from kinds_of_death import steps_in
from programs import LONGEST, Fault

TIMEOUT = 3  # seconds after which a rank that does not answer is an error
STOPPED = 3
CALLS = 350  # about as many receives as a rank starts in a run
# The first ones wait an hour for a corpus that may have to be downloaded.
FIRST_CALL = 5


def start(case, fault=None, least=2):
    """Starts the run, or goes on with it, on some ranks. Returns the process and their number."""
    case.use_shards()
    count = case.random.randint(least, 4)
    return case.start_train(fault, [f"--ranks={count}", f"--timeout={TIMEOUT}s"]), count


def finish(case, ended):
    """Goes on without faults, on another number of ranks, and compares the result with that of one process."""
    if ended.code == 0:
        return case.check_done()
    count = case.random.choice([0, 0, 1, 2, 3])
    return case.finish_run([f"--ranks={count}"] if count else [])


def family(pid):
    """Returns the processes that descend from this one, itself first."""
    found = [pid]
    for parent in found:
        try:
            found += map(int, pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
        except OSError:
            pass
    return found


def rank_of(pid):
    """Returns the rank of a process; None if it is none, such as mpirun."""
    try:
        variables = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return next((int(line[21:]) for line in variables if line.startswith(b"OMPI_COMM_WORLD_RANK=")), None)


def wait_for_ranks(case, process, count, training=True):
    """Waits until all ranks are there, and train if that is asked, then for a random time. Returns the processes.

    The first one is that which the user has started.
    """
    end = time.monotonic() + 20
    while process.running() and time.monotonic() < end:
        members = family(process.process.pid)
        if sum(rank_of(pid) is not None for pid in members) == count:
            if not training or "MB by rank" in process.paths["out"].read_text(errors="replace"):
                process.wait(case.random.uniform(0, 0.2))  # a run of four ranks trains for a few tenths of a second
                return members
        time.sleep(0.02)
    return []


def send(case, members, number, choose):
    """Sends a signal to one of the processes that `choose` accepts by their rank; returns the moment, None if all had ended."""
    chosen = [pid for pid in members if choose(rank_of(pid))]
    if not chosen:
        return None
    try:
        os.kill(case.random.choice(chosen), number)
    except ProcessLookupError:
        return None
    case.hits += 1
    return time.monotonic()


def check_gone(case, members):
    """Checks that no process is left of a run that has ended."""
    end = time.monotonic() + 5
    left = members
    while left and time.monotonic() < end:
        left = [pid for pid in members if running(pid)]
        time.sleep(0.02)
    for pid in left:
        case.find(CRASH, f"process {pid} is left over")
        os.kill(pid, signal.SIGKILL)
    for pid in members:  # see Process.remove_registration()
        pathlib.Path(f"/dev/shm/__KMP_REGISTERED_LIB_{pid}_{os.getuid()}").unlink(missing_ok=True)


def running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def disturb(case, numbers, choose, training=True):
    """Sends a signal to one process at a random moment, and returns how the run ended."""
    process, count = start(case)
    members = wait_for_ranks(case, process, count, training)
    sent = send(case, members, case.random.choice(numbers), choose)
    ended = process.end()
    if sent:
        case.ends.append(time.monotonic() - sent)
    check_gone(case, members)
    return ended


def rank_kill(case):
    """A rank, or mpirun, is killed or crashes at a random moment."""
    ended = disturb(case, [signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT], lambda rank: True,
                    training=case.random.random() < 0.7)
    if ended.code not in (-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGABRT):  # those of the program that started all
        case.judge_end(ended)
    case.check_whole()
    finish(case, ended)


def rank_stop(case):
    """A rank stops without an end, as one that hangs; the others name it."""
    ended = disturb(case, [signal.SIGSTOP], lambda rank: rank is not None)
    case.judge_end(ended)
    # MPI_Finalize does not tell whom it waits for.
    work = r"(step \d+|the (evaluation|checkpoint) after step \d+|the start|the end)"
    named = re.search(rf"has waited {TIMEOUT} s for (rank .* in {work}|the others in MPI_Finalize)"
                      rf"|a rank has ended {TIMEOUT} s ago, but process \d+ has not", ended.error)
    if ended.code == 1 and not named:
        case.find(WRONG, f"no word of who waits for whom: {ended.describe()}")
    finish(case, ended)


def rank_signal(case):
    """A rank, or the program that started all, is asked to stop: the run saves and stops."""
    number = case.random.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
    started = case.random.random() < 0.5
    process, count = start(case)
    members = wait_for_ranks(case, process, count)
    chosen = members[:1] if started else members
    sent = send(case, chosen, number, lambda rank: started or rank is not None)
    ended = process.end()
    if sent:
        case.ends.append(time.monotonic() - sent)
    if steps_in(case.run) == 60:
        pass  # the signal came when nothing was left to stop
    elif sent and ended.code is not None and ended.code < 0:
        case.find(CRASH, f"{signal_name(ended.code)} ends the program instead of stopping the run")
    elif sent:
        case.judge_end(ended, codes=(0, STOPPED))
    check_gone(case, members)
    finish(case, ended)


def rank_call(case):
    """A rank fails in an exchange of a step, an evaluation or a checkpoint: it dies, ends, hangs, or MPI reports an error."""
    action = case.random.choice(["kill", "exit=0", "exit=5", f"error={errno.EIO}", f"signal={int(signal.SIGABRT)}",
                                 f"signal={int(signal.SIGSTOP)}"])
    fail_in_call(case, action, case.random.randint(FIRST_CALL, CALLS), "irecv")


def rank_end(case):
    """A rank that has done its part hangs, crashes or fails at its end, when no other rank waits for it any more."""
    fail_in_call(case, case.random.choice(["kill", "exit=5"] + 3 * [f"signal={int(signal.SIGSTOP)}"]), 1, "end")


def fail_in_call(case, action, number, call):
    """Runs with this fault in one of the first two ranks, and checks that it is noticed and loses nothing."""
    rank = case.random.randint(0, 1)
    process, _ = start(case, Fault(action, number, call, path=f"rank-{rank}"))
    members, end = [], time.monotonic() + LONGEST
    while process.running() and time.monotonic() < end:
        members = sorted(set(members) | set(family(process.process.pid)))
        process.wait(0.05)
    ended = process.end()
    case.hits += bool(ended.hits)
    if ended.hits:
        case.ends.append(process.seconds_since_last_call())
    case.judge_end(ended)
    if ended.code == 0 and ended.hits:
        case.find(WRONG, f"{action} of rank {rank} is not noticed")
    check_gone(case, [pid for pid in members if pid != process.process.pid])
    finish(case, ended)


def rank_disk(case):
    """The disk of rank 0 is full, or fails, at a call on a file of the run."""
    fault = Fault(f"error={case.random.choice([errno.ENOSPC, errno.EIO])}", case.random.randint(1, 60),
                  case.random.choice(["write", "write,fsync", "open", "rename"]), repeat=case.random.random() < 0.5)
    process, _ = start(case, fault)
    ended = process.end()
    case.hits += bool(ended.hits)
    if ended.hits and ended.code == 1:
        case.ends.append(process.seconds_since_last_call())
    case.judge_end(ended, files=ended.files_hit())
    finish(case, ended)
