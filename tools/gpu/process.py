"""Running of a command under a limit, so that neither it nor what it started lives longer."""
import os
import signal
import subprocess

GRACE = 3  # seconds between a polite signal and one that cannot be refused


class Stopped(BaseException):
    """A signal asks gpu_check to end."""


def shown(command):
    """Returns a command as it would be typed."""
    return " ".join("'%s'" % word if not word or set(word) & set(" *?;<>|&$()\"") else word for word in command)


def signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def end_group(process):
    """Ends a command and all that it started, and waits for it."""
    signal_group(process, signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        pass
    signal_group(process, signal.SIGKILL)
    process.wait()


def run(command, log, limit, environment=None, folder=None):
    """Runs a command for at most `limit` seconds, and appends what it prints to `log` as it comes.

    Returns its exit code, or None if it was cut. Whatever happens, none of its processes is left.
    """
    with open(log, "ab") as out:
        out.write(("$ " + shown(command) + "\n").encode())
        out.flush()
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                       env=dict(os.environ, **(environment or {})), cwd=folder, start_new_session=True)
        except OSError as error:
            out.write((str(error) + "\n").encode())
            return 127
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            end_group(process)


def ask(command, limit=10):
    """Returns what a command prints and whether it succeeded; a command that is not there, or hangs, has not."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=limit)
    except subprocess.TimeoutExpired:
        return "no answer after %.0f s" % limit, False
    except OSError as error:
        return str(error), False
    return done.stdout.decode(errors="replace").strip(), done.returncode == 0
