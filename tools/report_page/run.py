"""A run as its folder tells it: the steps and evaluations of metrics.jsonl, the samples, and how it was started."""
import json
import math

from compare.files import Failure, rows_of

MEASURES = ("loss", "lr", "gradient_norm", "tokens_per_second", "memory_bytes")
FACTS = "run.json"  # written by train: commands, configuration, cost of a step
CHECKPOINT = "last.safetensors"
LONGEST_HEADER = 1 << 28  # bytes; a longer one is no header


class Run:
    """One run. Fields that the folder does not tell are empty or None."""

    def __init__(self, folder):
        self.folder, self.label = folder, folder.resolve().name
        metrics = folder / "metrics.jsonl"
        if not metrics.is_file():
            raise Failure(f"{folder}: holds no metrics.jsonl; give the folder of a run, which train prints as `run:`")
        self.steps = {name: [] for name in ("step", "seconds", "tokens", *MEASURES)}
        self.dev = {"step": [], "seconds": [], "tokens": [], "nats": []}
        self.level = None  # "byte", "word" or "subword"
        self.bits = {"dev": {}, "test": {}}  # bits per byte of evaluations of subwords, by step
        self.skipped = 0
        self.test = self.stop_dev = self.stop_test = None  # nats; those of a stop are not final
        self.end = None  # the row that says why the run ended before its last step
        self.samples = []  # (step, step of the weights or None, prompt, continuation)
        self.unknown = {}  # share of <unk> by split
        for row in rows_of(metrics):
            self.read(row)
        self.facts = facts_of(folder)
        self.config = flat(self.facts.get("config", {}))
        self.level = self.config.get("level", self.level)

    def read(self, row):
        """Takes a row of the metrics."""
        step = row.get("step")
        if not isinstance(step, int):
            return
        if "bpc" in row or "dev_bpc" in row:
            self.level = "byte"
        elif ("ppl" in row or "dev_ppl" in row) and self.level is None:
            self.level = "word"
        for split, bits in self.bits.items():
            if f"{split}_bpb" in row:
                self.level = "subword"
                bits[step] = finite(row[f"{split}_bpb"])
        if "loss" in row:
            self.read_step(row)
        elif "sample" in row:
            self.samples.append((step, row.get("weights_of_step"), row.get("prompt", ""), row["sample"]))
        elif "dev_nats" in row:
            if row.get("at_stop"):
                self.stop_dev = row["dev_nats"]
            else:
                self.dev["step"].append(step)
                self.dev["nats"].append(finite(row["dev_nats"]))
                for name in ("seconds", "tokens"):
                    self.dev[name].append(self.steps[name][-1] if self.steps[name] else 0)
        elif "test_nats" in row:
            if row.get("at_stop"):
                self.stop_test = row["test_nats"]
            else:
                self.test = row["test_nats"]
        elif "unknown_train" in row:
            self.unknown = {split: row.get(f"unknown_{split}") for split in ("train", "dev", "test")}
        elif "end" in row:
            self.end = row

    def read_step(self, row):
        seconds = (finite(row.get("ms")) or 0) / 1e3
        before = {name: self.steps[name][-1] if self.steps[name] else 0 for name in ("seconds", "tokens")}
        self.steps["step"].append(row["step"])
        self.steps["seconds"].append(before["seconds"] + seconds)
        self.steps["tokens"].append(before["tokens"] + round(seconds * (finite(row.get("tokens_per_second")) or 0)))
        for name in MEASURES:
            self.steps[name].append(finite(row.get(name)))
        self.skipped += bool(row.get("skipped"))

    def last_step(self):
        return self.steps["step"][-1] if self.steps["step"] else 0

    def all_steps(self):
        """Returns the number of steps of the schedule, or None."""
        return self.config.get("recipe.steps")

    def best_dev(self):
        """Returns (step, nats) of the best evaluation, or None."""
        scored = [(nats, step) for step, nats in zip(self.dev["step"], self.dev["nats"]) if nats is not None]
        return min(scored)[::-1] if scored else None

    def bits_per_byte(self, split):
        """Returns the bits per byte of the best dev or of the last test, or None: words have none."""
        best = self.best_dev()
        if self.level == "byte":
            nats = self.test if split == "test" else best and best[1]
            return nats / math.log(2) if nats is not None else None
        if split == "test":
            return list(self.bits["test"].values())[-1] if self.bits["test"] else None
        return self.bits["dev"].get(best[0]) if best else None

    def is_over(self):
        """Returns whether the run has come to its end, and not only to a stop."""
        return self.end is not None or self.test is not None or self.last_step() == self.all_steps()

    def state(self):
        """Returns in words how far the run is."""
        of = f" of {self.all_steps():,}" if self.all_steps() else ""
        if self.end and self.end["end"] == "early_stop":
            return f"stopped early at step {self.end['step']:,}{of}"
        if self.end:
            return f"ended at step {self.end['step']:,}{of}"
        if self.is_over():
            return f"done, {self.last_step():,} steps"
        return f"at step {self.last_step():,}{of}"


def finite(value):
    """Returns the number, or None for what is none: skipped steps have losses that JSON cannot hold."""
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


def facts_of(folder):
    """Returns what train wrote of the run in run.json; of runs that have none, the configuration of the checkpoint."""
    try:
        facts = json.loads((folder / FACTS).read_text())
        return facts if isinstance(facts, dict) else {}
    except FileNotFoundError:
        config = config_of_checkpoint(folder / CHECKPOINT)
        return {"config": config} if config else {}
    except ValueError as error:
        raise Failure(f"{folder / FACTS}: is not JSON ({error})") from error


def config_of_checkpoint(path):
    """Returns the configuration in the header of a checkpoint, or None if there is no such file."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size <= LONGEST_HEADER else {}
        config = json.loads(header["__metadata__"]["run"])
        config["model"] = json.loads(config.pop("model_config"))
        return config
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"{path}: is not a checkpoint of a run ({error})") from error


def flat(values, prefix=""):
    """Returns {"a.b": value} of nested objects."""
    found = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = value
    return found


def name_apart(runs):
    """Gives runs whose folders have one name as much of their paths as tells them apart."""
    for depth in range(2, 64):
        names = [run.label for run in runs]
        twice = [run for run in runs if names.count(run.label) > 1]
        if not twice:
            return
        for run in twice:
            run.label = "/".join(run.folder.resolve().parts[-depth:])
    raise Failure("one run is given twice", 2)


def thinned(series, names, most):
    """Returns at most about `most` points of a series: {name: values} for positions, which are those of the last of the
    steps that share a point, and {name: {"mean": ..., "low": ..., "high": ...}} for the measures `names`."""
    length = len(series["step"])
    size = max(1, math.ceil(length / most))
    starts = range(0, length, size)
    found = {name: [series[name][min(start + size, length) - 1] for start in starts]
             for name in ("step", "seconds", "tokens")}
    found["seconds"] = [rounded(value) for value in found["seconds"]]
    for name in names:
        groups = [[value for value in series[name][start:start + size] if value is not None] for start in starts]
        if not any(groups):
            continue
        found[name] = {"mean": [rounded(math.fsum(group) / len(group)) if group else None for group in groups]}
        if size > 1:
            found[name]["low"] = [rounded(min(group)) if group else None for group in groups]
            found[name]["high"] = [rounded(max(group)) if group else None for group in groups]
    return found


def rounded(value):
    """Returns the number with as many digits as a plot can show."""
    return None if value is None else float(f"{value:.6g}")
