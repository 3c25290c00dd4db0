"""Stages: what each runs, and for how long; and the check, which runs them one after another and reports after each."""
import dataclasses
import os
import time

from compare.files import Failure
from gpu import process

LEAST = 0.5  # a stage is not begun with less than this share of the time that it usually takes


@dataclasses.dataclass
class Stage:
    """One step of the check.

    `commands` run in turn, until one fails; each may be a list of words or a function that does something here. `expected`
    is how many seconds they usually take, `limit` how many they may take in all. `missing` says why the stage cannot run, if
    it cannot. `read` gets the text of the log and returns what is worth keeping, as values for JSON; it raises Failure if the
    output shows that the stage failed all the same.
    """

    name: str
    commands: list
    expected: float
    limit: float
    read: object = None
    missing: str = ""
    environment: dict = dataclasses.field(default_factory=dict)


class Check:
    """Runs stages under a limit in all, and hands the results so far to `report` before and after each."""

    def __init__(self, out, limit, report, say=print):
        self.out = out
        self.deadline = None if limit is None else time.monotonic() + limit
        self.report = report
        self.say = say
        self.results = []

    def left(self):
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def ok(self):
        return all(result["outcome"] in ("passed", "not run") for result in self.results)

    def run(self, stages):
        """Runs the stages in order. A stage that fails or is cut stops none of the next; a signal stops all."""
        for position, stage in enumerate(stages):
            try:
                self.run_stage(stage)
            except (KeyboardInterrupt, process.Stopped):
                self.interrupt(stages[position:])
                raise

    def interrupt(self, stages):
        """Reports the stage that runs as interrupted, and those that were not begun as not run."""
        if self.results and self.results[-1]["outcome"] == "running":
            self.end(self.results[-1], "interrupted", "by a signal")
        known = {result["name"] for result in self.results}
        self.results += [self.skipped(stage, "a signal ended the check") for stage in stages if stage.name not in known]
        self.report(self.results)

    def skipped(self, stage, why):
        return {"name": stage.name, "outcome": "not run", "why": why, "seconds": 0.0, "commands": [], "values": {}}

    def run_stage(self, stage):
        left = self.left()
        why = stage.missing
        if not why and left < LEAST * stage.expected:
            why = "%.0f s were left, and it takes about %.0f s" % (max(left, 0), stage.expected)
        if why:
            self.results.append(self.skipped(stage, why))
            self.say("%-22s not run: %s" % (stage.name, why))
            self.report(self.results)
            return
        result = self.skipped(stage, "")
        result.update(outcome="running", began=time.time(),
                      commands=[process.shown(c) for c in stage.commands if not callable(c)])
        self.results.append(result)
        self.report(self.results)
        outcome, why = self.do(stage, min(stage.limit, left), result)
        self.end(result, outcome, why)
        self.say("%-22s %s (%.1f s)" % (stage.name, outcome + (": " + why if why else ""), result["seconds"]))
        self.report(self.results)

    def end(self, result, outcome, why):
        if "began" in result:
            result["seconds"] = round(time.time() - result.pop("began"), 1)
        result.update(outcome=outcome, why=why)

    def do(self, stage, limit, result):
        """Runs the commands of a stage and reads their output. Returns the outcome, and why it is none better."""
        log = os.path.join(self.out, stage.name + ".log")
        open(log, "wb").close()
        until = time.monotonic() + limit
        outcome, why = "passed", ""
        try:
            for command in stage.commands:
                if callable(command):
                    command(log)
                    continue
                code = process.run(command, log, max(until - time.monotonic(), 0.1), stage.environment)
                if code is None:
                    outcome, why = "cut", "after %.0f s" % limit
                elif code != 0:
                    outcome, why = "FAILED", "exit code %d" % code
                if code != 0:
                    break
        except Failure as failure:
            return "FAILED", str(failure)
        return self.read(stage, log, result, outcome, why)

    def read(self, stage, log, result, outcome, why):
        """Keeps what the output says, also that of a stage that failed, as far as it goes."""
        if stage.read is None:
            return outcome, why
        with open(log, encoding="utf-8", errors="replace") as file:
            text = file.read()
        try:
            result["values"] = stage.read(text)
        except Failure as failure:
            if outcome == "passed":
                return "FAILED", str(failure)
            why += "; " + str(failure)
        except (OSError, LookupError, ValueError, TypeError) as error:
            if outcome == "passed":
                return "FAILED", "its output cannot be read: %r" % error
        return outcome, why
