"""The runs of a tuning: each is trained once, and its loss is kept in the folder of the comparison."""
import math
import re
import shutil
import sys

from compare.budget import schedule_flags, steps_of_budget, warmup_of, whole_steps
from compare.files import Failure, read_json, rows_of, write_csv, write_json
from compare.program import failure_of, has_diverged
from compare.space import Candidate, space_of
from compare.tuning import Search

FEWEST_STEPS = 100  # of a run that is worth comparing


class Tuned:
    """The settings that a model trains with: those that its tuning found, or those of its preset."""

    def __init__(self, model, arguments, step_times):
        self.model = model
        self.arguments = arguments
        self.step_times = step_times
        self.flags = []
        self.warmup_share = None
        self.found = None  # what tuning.json says of this model
        self.space, self.best = self.space_at(0), Candidate()
        self.rung = 0  # final runs have the rate that was found, or of the preset, times 2^rung
        self.divided = 0  # how often a final run has diverged and halved the rate
        self.complete = None  # with --settle-rates, {rate: dev loss in nats of a complete run, or None if it diverged}

    def tune(self, program):
        model, arguments = self.model, self.arguments
        facts = model.facts()
        steps = self.full_steps(facts)
        space = self.space_at(warmup_of(facts, whole_steps(steps)) / whole_steps(steps))
        search = Search(space, arguments.tune, lambda candidates, share: program.map(
            lambda candidate: self.trial(program, space, candidate, share), candidates))
        shortest = whole_steps(search.share * steps)
        if shortest < FEWEST_STEPS:
            print(f"compare_models: {model.label}: the shortest runs of its tuning have {shortest} steps, which say "
                  "little; a larger --tune or budget makes them longer", file=sys.stderr)
        best = search.best()
        self.space, self.best = space, best
        self.flags, self.warmup_share = space.flags(best), self.share_of(best)
        self.found = {
            "budget": arguments.tune, "spent": search.spent(), "longest": search.share * 4, "at_edge": search.at_edge,
            "found": space.text(best), "flags": self.flags, "warmup_share": self.warmup_share,
            "loss": search.scores[best],
            "neighbours": {space.text(best.at(best.rung + step)): as_json(search.scores.get(best.at(best.rung + step)))
                           for step in (-1, 1)},
            "trials": [{"round": number, "share": share,
                        "steps": self.trial_steps(model.facts(space.flags(candidate)), share),
                        "settings": space.text(candidate), "dev_nats": as_json(score)}
                       for number, share, candidate, score in search.trials]}

    def space_at(self, warmup_share):
        return space_of(self.model.kind, self.model.facts(), self.model.fixed(), warmup_share)

    def set_rung(self, rung):
        self.rung = rung
        self.flags = self.space.flags(self.candidate(rung)) if rung or self.found else []

    def candidate(self, rung):
        return self.best.at(self.best.rung + rung)

    def lower_rate(self):
        """Halves the rate for the final runs: no run before them has shown that it is too high."""
        self.divided += 1
        self.set_rung(self.rung - 1)

    def full_steps(self, facts):
        seconds = self.step_times.seconds(facts) if self.arguments.budget else None
        return steps_of_budget(self.arguments, facts, seconds)

    def trial_steps(self, facts, share):
        return whole_steps(share * self.full_steps(facts))

    @staticmethod
    def share_of(candidate):
        return dict(candidate.changes).get("warmup_share")

    def trial(self, program, space, candidate, share):
        """Trains a candidate for a share of a final run, unless that was done, and returns its dev loss in nats."""
        model, flags = self.model, space.flags(candidate)
        facts = model.facts(flags)
        steps = self.trial_steps(facts, share)
        text = f"{space.text(candidate)} steps={steps}"
        folder = model.out / "tuning" / model.name / re.sub(r"[^A-Za-z0-9.=-]+", "_", text)
        kept = folder.with_name(folder.name + ".json")
        command = [*model.command(flags), *schedule_flags(facts, steps, 1, self.trial_warmup(facts, candidate, steps)),
                   "--no-test"]
        if kept.exists():
            result = read_json(kept)
            if result["command"][1:] != command[1:] or result["corpus_sha256"] != facts["corpus"]["sha256"]:
                raise Failure(f"{kept} holds a run of another comparison or text; give another --out")
            return math.inf if result["dev_nats"] is None else result["dev_nats"]
        loss = self.train(program, command, folder)
        write_json(kept, {"command": command, "settings": text, "corpus_sha256": facts["corpus"]["sha256"],
                          "dev_nats": as_json(loss)})
        shutil.rmtree(folder, ignore_errors=True)  # the weights of all trials would fill a disk
        print(f"{model.label}: {text}: " + (f"{loss:.4f} nats" if math.isfinite(loss) else "diverged"), flush=True)
        return loss

    def trial_warmup(self, facts, candidate, steps):
        """Returns the warm-up of a trial as the share of updates that the final run has."""
        share = self.share_of(candidate)
        if share is not None or facts["warmup"] == 0:
            return share
        full = whole_steps(self.full_steps(facts))
        return warmup_of(facts, full) / full

    def train(self, program, command, folder):
        log = folder.with_name(folder.name + ".log")
        if (folder / "last.safetensors").exists():
            command = [command[0], command[1], f"--resume={folder}", "--sample-bytes=0"]
        else:
            shutil.rmtree(folder, ignore_errors=True)
            command = [*command, f"--out={folder}"]
        code = program.run(command, log)
        text = log.read_text()
        if has_diverged(code, text):
            return math.inf
        if code != 0:
            raise failure_of(self.model.label, code, log)
        losses = [row["dev_nats"] for row in rows_of(folder / "metrics.jsonl") if row.get("dev_nats") is not None]
        log.unlink()
        return losses[-1] if losses and math.isfinite(losses[-1]) else math.inf


def as_json(loss):
    return loss if loss is not None and math.isfinite(loss) else None


def write_tuning(out, tuned):
    """Writes tuning.json and tuning.csv: what was tried for each model, and what was found."""
    found = {one.model.label: one.found for one in tuned if one.found}
    write_json(out / "tuning.json", found)
    write_csv(out / "tuning.csv", ["model", "round", "share of a final run", "steps", "settings", "dev nats", "found"],
              [[label, trial["round"], trial["share"], trial["steps"], trial["settings"],
                "diverged" if trial["dev_nats"] is None else trial["dev_nats"], trial["settings"] == one["found"]]
               for label, one in found.items() for trial in one["trials"]])
