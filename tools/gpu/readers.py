"""What is kept of the output of a stage: one function for each kind of stage, from the text of its log to values."""
import json
import os
import re

from compare.files import Failure
from gpu import kernels, ncu


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise Failure("%s: %s" % (os.path.basename(path), error))


def tests(on_device):
    """Returns a reader of doctest's output. On a device no test may skip itself for want of one."""
    def read(text):
        counts = re.search(r"test cases:\s*(\d+) \|\s*(\d+) passed \|\s*(\d+) failed", text)
        times = [(float(seconds), name.strip()) for seconds, name in re.findall(r"^([\d.]+) s: (.+)$", text, re.M)]
        blocks = text.split("=" * 79)
        failing = sorted({match.group(1).strip() for block in blocks if "ERROR:" in block
                          for match in [re.search(r"TEST CASE:\s+(.+)", block)] if match})
        values = {"finished": len(times), "failing": failing, "slowest": sorted(times, reverse=True)[:5]}
        if not counts:
            raise Failure("ended before its summary, after %d test cases" % len(times))
        values.update(zip(("cases", "passed", "failed"), map(int, counts.groups())))
        if values["cases"] == 0:
            raise Failure("no test case ran")
        if on_device and "skipped: no GPU" in text:
            raise Failure("tests found no GPU and skipped themselves")
        return values
    return read


def record(path, on_device):
    """Returns the record that bench wrote. Failure: it was not made on the device that is checked."""
    made = read_json(path)
    if on_device and not made["device"].startswith("cuda:"):
        raise Failure("bench ran on %s" % made["device"])
    return made


def peaks(path, on_device):
    def read(text):
        made = record(path, on_device)
        table = made["peak_table"]
        return {"gflops": made["peaks"], "products": table["products"],
                "copy_gbs": max(copy["gbs"] for copy in table["copies"])}
    return read


def step(path, on_device):
    def read(text):
        made = record(path, on_device)["steps"][0]
        mfu = re.search(r"MFU: ([\d.]+) % of the data sheet", text)
        keep = ("precision", "ms", "tokens_per_step", "tokens_per_second", "eager_ms", "graph_refusal", "peak_bytes",
                "reserved_bytes", "system_allocations")
        values = {name: made[name] for name in keep if name in made}
        values["mfu"] = float(mfu.group(1)) if mfu else None
        sizes = re.search(r"^preset .*: (T .*)$", text, re.M)
        values["sizes"] = sizes.group(1) if sizes else ""
        return values
    return read


def operators(path, on_device):
    def read(text):
        rows = []
        for case in record(path, on_device)["operators"]:
            row = {"case": "%s %s %s" % (case["operator"], case["precision"], case["case"]), "error": case["error"]}
            for part in ("forward", "backward"):
                if part in case:
                    row[part + "_us"] = round(1e3 * case[part]["ms"]["median"], 3)
                    for share in ("share_of_peak", "share_of_copy"):
                        if share in case[part]:
                            row[part + "_" + share] = round(case[part][share], 4)
            rows.append(row)
        if not rows:
            raise Failure("bench timed no operator")
        return {"operators": rows}
    return read


def profile(table, path):
    """Returns a reader of ncu's table and of the record of the program that it profiled."""
    def read(text):
        try:
            with open(table, encoding="utf-8", errors="replace") as file:
                ran = ncu.kernels_of(file.read())
        except OSError:
            ran = ncu.kernels_of(text)
        made = read_json(path)
        parts, note = kernels.parts_of_step(ran, made["steps"][0].get("products", []), made["sizes"])
        return {"kernels": len(ran), "us": round(sum(kernel["us"] or 0 for kernel in ran), 1), "note": note,
                "parts": parts}
    return read


def pytorch(text):
    """Returns the rows that tools/pytorch/bench.py printed as JSON."""
    rows = []
    for line in text.splitlines():
        if line.startswith("{"):
            rows.append(json.loads(line))
    if not rows:
        raise Failure("PyTorch printed no result")
    sizes = re.search(r"^preset .*: (T .*)$", text, re.M)
    return {"rows": rows, "sizes": sizes.group(1) if sizes else ""}


def sanitizer(text):
    """Returns compute-sanitizer's summary. It ends with 0 also where it watched nothing."""
    counts = re.search(r"test cases:\s*(\d+)", text)
    summary = re.findall(r"^=+ ((?:ERROR|RACECHECK) SUMMARY: .*)$", text, re.M)
    if not counts or int(counts.group(1)) == 0:
        raise Failure("no test case ran")
    if not summary:
        raise Failure("compute-sanitizer gave no summary")
    return {"cases": int(counts.group(1)), "summary": summary[-1]}
