"""Running of the program train, one at a time or several side by side."""
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import threading

from compare.files import Failure


def has_diverged(code, log):
    """Returns whether train ended because losses or weights were not finite. `log` is its output."""
    return code == 1 and re.search(r"diverged|were not finite", log) is not None


def failure_of(name, code, log):
    """Returns the Failure of a run of train, with the last lines of its log."""
    return Failure(f"{name}: train ended with {code}: " + " | ".join(log.read_text().splitlines()[-3:]))


class Program:
    """The program train, and those of its processes that run now."""

    def __init__(self, path, jobs=1):
        self.path = path
        self.jobs = jobs
        self.running = set()
        self.stopped = False
        self.lock = threading.Lock()
        self.described = {}

    def run(self, command, log, alone=False):
        """Runs a command with its output in `log`, and returns its exit code. `alone`: with all cores."""
        environment = dict(os.environ)
        if self.jobs > 1 and not alone:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.jobs))
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w") as out:
            with self.lock:
                if self.stopped:
                    raise Failure("stopped", 3)
                process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
                self.running.add(process)
            try:
                code = process.wait()
            except BaseException:  # Ctrl-C or TERM: train saves a checkpoint and ends
                process.send_signal(signal.SIGTERM)
                process.wait()
                raise
            finally:
                with self.lock:
                    self.running.discard(process)
        if code == 3:
            raise Failure("stopped by a signal; the same command again goes on", 3)
        return code

    def run_or_fail(self, name, command, log, alone=False):
        """Like run(). Error: the command fails; the message has the last lines of the log."""
        code = self.run(command, log, alone)
        if code != 0:
            raise failure_of(name, code, log)

    def describe(self, name, command):
        """Returns what `train --describe` says of a command. Error: train refuses it, or is too old to say enough."""
        key = tuple(command)
        if key not in self.described:
            out = subprocess.run([*command, "--describe"], capture_output=True, text=True)
            if out.returncode != 0:
                raise Failure(f"{name}: {out.stderr.strip() or out.stdout.strip()}", 2)
            facts = json.loads(out.stdout)
            if "recipe" not in facts:
                raise Failure(f"{self.path}: `--describe` does not give the recipe; build this version's train")
            self.described[key] = facts
        return self.described[key]

    def map(self, function, items):
        """Returns [function(item) for item in items], `jobs` of them side by side. An error stops the others."""
        if self.jobs == 1:
            return [function(item) for item in items]
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(function, item) for item in items]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
            except BaseException:
                self.stop()
                for future in futures:
                    future.cancel()
                raise
            return [future.result() for future in futures]

    def stop(self):
        """Lets the processes that run save their checkpoints and end, and starts no more."""
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.send_signal(signal.SIGTERM)
