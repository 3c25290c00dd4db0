"""The uninterrupted run, which every disturbed run must equal, and what else is true of a run at any moment."""
import json
import struct

CHECKPOINTS = ("last.safetensors", "best.safetensors")
METRICS = "metrics.jsonl"
MEASURED = ("ms", "tokens_per_second", "memory_bytes")  # differ from run to run


def rows_of(run):
    """Returns the rows of a run's metrics as texts without what is measured."""
    rows = []
    for line in (run / METRICS).read_text().splitlines():
        row = json.loads(line)
        rows.append(json.dumps({name: value for name, value in row.items() if name not in MEASURED}))
    return rows


def first_difference(rows, expected):
    """Returns in words where two lists of rows differ first."""
    for i, row in enumerate(expected):
        if i >= len(rows):
            return f"{METRICS} ends after {len(rows)} of {len(expected)} rows"
        if rows[i] != row:
            return f"{METRICS}: row {i + 1} is {rows[i][:80]}, not {row[:80]}"
    return f"{METRICS} has {len(rows) - len(expected)} rows too many, the first is {rows[len(expected)][:80]}"


def is_whole(path):
    """Returns whether a safetensors file has a header and all the data that the header names."""
    content = path.read_bytes()
    if len(content) < 8:
        return False
    data = 8 + struct.unpack("<Q", content[:8])[0]
    try:
        tensors = json.loads(content[8:data])
    except ValueError:
        return False
    ends = [entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__"]
    return len(content) == data + max(ends, default=0)


class Truth:
    """The files of an uninterrupted run, read from its folder, and every best checkpoint that it had on the way."""

    def __init__(self, run, bests):
        self.checkpoints = {name: (run / name).read_bytes() for name in CHECKPOINTS}
        self.rows = rows_of(run)
        self.bests = set(bests)

    def differences(self, run):
        """Returns in words what differs in the folder of a run that is done."""
        found = []
        for name, content in self.checkpoints.items():
            if not (run / name).exists():
                found.append(f"there is no {name}")
            elif (run / name).read_bytes() != content:
                found.append(f"{name} differs from that of the uninterrupted run")
        try:
            rows = rows_of(run)
            if rows != self.rows:
                found.append(first_difference(rows, self.rows))
        except (OSError, ValueError) as error:
            found.append(f"{METRICS} cannot be read: {error}")
        found += [f"{path.name} is left over" for path in run.glob("*.tmp")]
        return found

    def half_files(self, run):
        """Returns in words which checkpoints of a run that was interrupted are not whole."""
        found = [f"{name} is not a whole file" for name in CHECKPOINTS
                 if (run / name).exists() and not is_whole(run / name)]
        best = run / "best.safetensors"
        if not found and best.exists() and best.read_bytes() not in self.bests:
            found.append("best.safetensors is none that the uninterrupted run had")
        return found
