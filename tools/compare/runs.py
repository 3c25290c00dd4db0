"""The runs of the comparison: a model with its settings and a seed, trained for the budget."""
import math

from compare.arguments import budget_text
from compare.budget import schedule_flags, whole_steps
from compare.files import Failure, read_json, rows_of, write_json
from compare.program import failure_of, has_diverged

BLOWN_UP = 0.2  # nats a token: a final run that ends this far above the short run of its tuning has diverged


class Run:
    """One run of a model: the command that trains it, and its curve from the metrics.

    The run of the first seed has the folder NAME, that of another NAME.seed-S. Runs at half of the rate that was found or
    given are NAME.lowered-1, NAME.lowered-1.seed-S and so on, those at twice of it NAME.raised-1.
    """

    def __init__(self, tuned, index):
        self.tuned, self.model, self.arguments = tuned, tuned.model, tuned.arguments
        self.facts = self.model.facts(tuned.flags)
        self.seed = self.facts["seed"] + index
        rate = f".lowered-{-tuned.rung}" if tuned.rung < 0 else f".raised-{tuned.rung}" if tuned.rung else ""
        name = self.model.name + rate + (f".seed-{self.seed}" if index else "")
        self.folder = self.arguments.out / name
        self.plan_file = self.arguments.out / f"{name}.plan.json"
        self.log = self.arguments.out / f"{name}.log"
        self.command = self.model.command([*tuned.flags, *([f"--seed={self.seed}"] if index else [])])
        self.index = index
        self.done = self.diverged = False  # known when train() has returned, or from an earlier call of compare_models
        self.steps = self.plan()

    def plan(self):
        """Returns the number of steps, which is settled when the run is planned first."""
        budget = budget_text(self.arguments)
        if self.plan_file.exists():
            plan = read_json(self.plan_file)
            if plan["command"][1:] != self.command[1:] or plan["budget"] != budget:
                raise Failure(f"{self.folder} holds another comparison's run; give another --out")
            self.diverged = plan.get("diverged", False)
            return plan["steps"]
        return whole_steps(self.tuned.full_steps(self.facts))

    def train(self, program):
        """Trains, goes on with a run that was stopped, or finds that all is done."""
        if self.diverged:
            return
        self.keep_plan()
        if (self.folder / "last.safetensors").exists():  # a run that is done is only held against its text
            command = [self.command[0], self.command[1], f"--resume={self.folder}", "--sample-bytes=0"]
        else:
            command = [*self.command, f"--out={self.folder}",
                       *schedule_flags(self.facts, self.steps, self.arguments.evaluations, self.tuned.warmup_share)]
        code = program.run(command, self.log)
        self.diverged = has_diverged(code, self.log.read_text()) or (code == 0 and self.has_blown_up())
        if self.diverged:
            self.keep_plan()
        elif code != 0:
            raise failure_of(self.model.label, code, self.log)
        self.done = not self.diverged

    def last_loss(self):
        """Returns the last dev loss in nats of a run that has ended; of one that diverged it is infinite."""
        return math.inf if self.diverged else self.result()["curve"][-1][1]

    def has_blown_up(self):
        """Returns whether the run ended far above the short run that found its settings: it diverged, though all was finite."""
        return self.tuned.found is not None and self.last_loss() > self.tuned.found["loss"] + BLOWN_UP

    def keep_plan(self):
        write_json(self.plan_file, {"command": self.command, "budget": budget_text(self.arguments), "facts": self.facts,
                                    "steps": self.steps, "diverged": self.diverged})

    def result(self):
        """Returns the steps, the curve as (step, dev nats), the test loss in nats or NaN, the peak memory, and of subwords
        the bits per byte for each nat a token, by split."""
        return read_run(self.folder / "metrics.jsonl")


def read_run(metrics):
    """Reads the metrics of a run: see Run.result()."""
    curve, test, peak, per_byte = [], math.nan, 0, {}
    for row in rows_of(metrics):
        for split in ("dev", "test"):
            if row.get(f"{split}_bpb") and row.get(f"{split}_nats") and not row.get("at_stop"):
                per_byte[split] = row[f"{split}_bpb"] / row[f"{split}_nats"]
        if "ms" in row:
            peak = max(peak, row["memory_bytes"])
        elif row.get("dev_nats") is not None and not row.get("at_stop"):
            curve.append((row["step"], row["dev_nats"]))
        elif row.get("test_nats") is not None and not row.get("at_stop"):
            test = row["test_nats"]
    if not curve:
        raise Failure(f"{metrics}: has no evaluation on the dev split; the text is too short, or delete this run")
    return {"steps": curve[-1][0], "curve": curve, "test": test, "peak": peak, "per_byte": per_byte}
