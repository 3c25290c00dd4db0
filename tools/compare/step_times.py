"""The time that a step takes when nothing else runs, measured for all models in turn and kept in a file.

Long runs may then be disturbed, or share the cores: their time axis is the number of steps times this.

    {"measurements": [{"date": ..., "device": ..., "load": ..., "steps": 40, "models": [
        {"label": ..., "settings": {...}, "command": [...], "ms": [one median a round]}]}]}
"""
import datetime
import os
import shutil
import statistics
import sys

from compare.files import Failure, read_json, rows_of, write_json

PROBE_STEPS = 40  # of each model in each round; the first half is warm-up
PROBE_LR = 1e-6  # its time does not depend on the rate, which might be one that diverges
MOST_LOAD = 0.5  # average of the last minute, above which something else runs
RECIPE = ("batch_size", "unroll", "accumulate", "memory", "optimizer")  # fields that a step's time depends on
FREE = ("highway_bias", "alpha")  # fields of models that it does not depend on


class StepTimes:
    """The milliseconds of a step of each configuration, one number a round, from one measurement in turn."""

    def __init__(self, measurement):
        self.measurement = measurement
        self.rounds = {settings_key(row["settings"]): row["ms"] for row in measurement["models"]}

    def has(self, facts):
        return settings_key(settings_of(facts)) in self.rounds

    def ms(self, facts):
        """Returns the times of the rounds."""
        return self.rounds[settings_key(settings_of(facts))]

    def seconds(self, facts):
        return statistics.median(self.ms(facts)) / 1e3


def settings_of(facts):
    """Returns what tells configurations with different times of a step apart."""
    settings = {name: value for name, value in facts["model"].items() if name not in FREE}
    settings |= {name: facts["recipe"][name] for name in RECIPE}
    return settings | {"precision": facts["precision"], "recompute": facts["recompute"]}


def settings_key(settings):
    def plain(value):  # 2 and 2.0 are the same setting
        return repr(float(value) if isinstance(value, int) else value)
    return tuple(sorted((name, plain(value)) for name, value in settings.items()))


def find(path, all_facts):
    """Returns the newest measurement in the file that has every configuration, or None."""
    if not path.exists():
        return None
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("measurements"), list):
        raise Failure(f"--step-times={path}: holds no measurements of steps; give another file")
    for measurement in reversed(content["measurements"]):
        times = StepTimes(measurement)
        if all(times.has(facts) for facts in all_facts):
            return times
    return None


def measure(path, configurations, program, folder, rounds):
    """Measures the steps of all configurations in turn, adds the measurement to the file, and returns it.

    `configurations` are (label, command, facts). A time is the median of the second half of a short run that has all
    cores.
    """
    load = os.getloadavg()[0]
    if load > MOST_LOAD:
        print(f"compare_models: the machine's load is {load:.1f}; times of steps measured now are too long, and "
              f"deleting {path} lets them be measured again", file=sys.stderr)
    rows = {}
    for label, command, facts in configurations:
        rows.setdefault(settings_key(settings_of(facts)),
                        {"label": label, "settings": settings_of(facts), "command": command, "ms": []})
    for _ in range(rounds):
        for row in rows.values():
            shutil.rmtree(folder, ignore_errors=True)
            flags = [f"--out={folder}", f"--max-steps={PROBE_STEPS}", f"--lr={PROBE_LR}", "--eval-bytes=2000",
                     "--sample-bytes=0", "--no-test"]
            program.run_or_fail(row["label"], [*row["command"], *flags], folder.with_suffix(".log"), alone=True)
            times = [metrics["ms"] for metrics in rows_of(folder / "metrics.jsonl") if "ms" in metrics]
            row["ms"].append(statistics.median(times[PROBE_STEPS // 2:]))
    shutil.rmtree(folder, ignore_errors=True)
    measurement = {"date": datetime.datetime.now().isoformat(timespec="seconds"),
                   "device": configurations[0][2]["device"], "load": round(load, 2), "steps": PROBE_STEPS,
                   "models": list(rows.values())}
    measurements = read_json(path)["measurements"] if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"measurements": [*measurements, measurement]})
    return StepTimes(measurement)
