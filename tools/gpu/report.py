"""The report: what is known so far, as JSON and as a page of text, each written as a whole."""
import json
import os
import pathlib

from compare.files import replace

MOST_MISSES = 10


def load_predictions():
    return json.loads((pathlib.Path(__file__).parent / "predicted.json").read_text(encoding="utf-8"))


def values_of(results, name):
    """Returns what was read of a stage; nothing if it did not pass."""
    for result in results:
        if result["name"] == name and result["outcome"] == "passed":
            return result["values"]
    return {}


def ratio(measured, predicted):
    return "%.2f" % (measured / predicted) if measured is not None and predicted else "-"


def shown(value, form="%.1f"):
    return "-" if value is None else form % value


def table(head, rows):
    """Returns the lines of a table; the cells are text."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows] + [""]


# --- measured beside predicted ---------------------------------------------------------------------------------------


def comparisons(results, predicted):
    """Returns rows (kind, name, predicted us, measured us) of all that was predicted and measured."""
    rows = []
    for name, step in predicted["steps"].items():
        values = values_of(results, name)
        if "ms" in values:
            rows.append(("step", name, 1e3 * step["ms"][0], 1e3 * values["ms"]["median"]))
    parts = values_of(results, "profile").get("parts", {})
    for name, part in predicted["kernels"]["parts"].items():
        if name in parts:
            rows.append(("kernels", name, part["us"], parts[name]["us"]))
    measured = {row["case"]: row for row in values_of(results, "operators").get("operators", [])}
    for name, times in predicted["operators"].items():
        case = next((row for case, row in measured.items() if case.startswith(name)), {})
        for part in ("forward", "backward"):
            if part + "_us" in times and part + "_us" in case:
                rows.append(("operator", "%s, %s" % (name, part), times[part + "_us"], case[part + "_us"]))
    return rows


def largest_misses(rows):
    """Returns the parts of a step that took longest or shortest against what was predicted of them, by microseconds.

    Whole steps are left out, because their parts explain them, and operators too, where the profile has the same kernels.
    """
    kinds = {row[0] for row in rows}
    kept = [row for row in rows if row[0] == ("kernels" if "kernels" in kinds else "operator")]
    return sorted(kept, key=lambda row: -abs(row[3] - row[2]))[:MOST_MISSES]


def peaks_table(results, predicted):
    values = values_of(results, "peaks")
    gflops = values.get("gflops", {}).get("bf16")
    tflops, copy = gflops and gflops / 1e3, values.get("copy_gbs") and values["copy_gbs"] / 1e3
    expected = predicted["peaks"]
    return table(["ceiling", "predicted", "measured", "ratio"],
                 [["products in bf16, TFLOP/s", shown(expected["bf16_tflops"]), shown(tflops), ratio(tflops, expected["bf16_tflops"])],
                  ["copy, half read, half written, TB/s", shown(expected["copy_tbs"]), shown(copy, "%.2f"),
                   ratio(copy, expected["copy_tbs"])]])


def steps_table(results, predicted):
    rows = []
    for name, step in predicted["steps"].items():
        values = values_of(results, name)
        ms = values.get("ms", {}).get("median")
        rows.append([name, "%s .. %s" % tuple(step["ms"]), shown(ms, "%.2f"), ratio(ms, step["ms"][0]),
                     "%s .. %s" % tuple(step["mfu"]), shown(values.get("mfu")), shown(values.get("tokens_per_second"), "%.0f")])
    return table(["step", "predicted ms", "measured", "measured / least", "predicted MFU, %", "measured", "tokens/s"], rows)


def kernels_table(results, predicted):
    profile = values_of(results, "profile")
    parts = profile.get("parts", {})
    rows = []
    for name in list(predicted["kernels"]["parts"]) + [part for part in parts if part not in predicted["kernels"]["parts"]]:
        expected, seen = predicted["kernels"]["parts"].get(name, {}), parts.get(name, {})
        rows.append([name, shown(expected.get("launches"), "%d"), shown(seen.get("launches"), "%d"), shown(expected.get("us")),
                     shown(seen.get("us")), ratio(seen.get("us"), expected.get("us")), shown(expected.get("mb")),
                     shown(seen["bytes"] / 1e6 if "bytes" in seen else None)])
    rows.append(["all", "", shown(profile.get("kernels"), "%d"), shown(sum(part["us"] for part in predicted["kernels"]["parts"].values())),
                 shown(profile.get("us")), "", "", ""])
    lines = table(["part of a step", "launches predicted", "seen", "us predicted", "measured", "ratio", "MB predicted", "measured"],
                  rows)
    return lines + ([profile["note"], ""] if profile.get("note") else [])


def operators_table(results, predicted):
    rows = []
    for row in values_of(results, "operators").get("operators", []):
        times = next((times for name, times in predicted["operators"].items() if row["case"].startswith(name)), {})
        for part in ("forward", "backward"):
            if part + "_us" not in row:
                continue
            share = row.get(part + "_share_of_peak", row.get(part + "_share_of_copy"))
            of = "products" if part + "_share_of_peak" in row else "a copy"
            rows.append([row["case"], part, shown(times.get(part + "_us")), shown(row[part + "_us"]),
                         ratio(row[part + "_us"], times.get(part + "_us")),
                         "-" if share is None else "%.0f %% of %s" % (100 * share, of)])
    return table(["operator", "pass", "us predicted", "measured", "ratio", "reaches"], rows) if rows else []


# --- targets and PyTorch ---------------------------------------------------------------------------------------------


def beside_pytorch(results):
    """Returns rows (stage, form, Tandem's tokens/s, PyTorch's, ratio) of steps of the same sizes."""
    steps = [result["values"] for result in results if result["name"].startswith("step-") and result["outcome"] == "passed"]
    rows = []
    for result in results:
        for row in result["values"].get("rows", []) if result["outcome"] == "passed" else []:
            sizes = result["values"]["sizes"]
            ours = next((step["tokens_per_second"] for step in steps if step["sizes"] == sizes), None)
            theirs = row.get("tokens_per_s")
            rows.append((result["name"], row["form"], ours, theirs, ours / theirs if ours and theirs else None))
    return rows


def targets(results):
    """Returns rows (target, measured, verdict); those of one H100, which Tandem has set itself."""
    rows = []

    def add(what, measured, least, form="%.2f"):
        verdict = "not measured" if measured is None else "met" if measured >= least else "MISSED"
        rows.append([what, shown(measured, form), verdict])

    add("base: 40 % MFU", values_of(results, "step-base-b32").get("mfu"), 40, "%.1f")
    for row in values_of(results, "operators").get("operators", []):
        if row["case"].startswith("sru_scan"):
            for part in ("forward", "backward"):
                share = row.get(part + "_share_of_copy")
                add("%s, %s: 70 %% of a copy" % (row["case"], part), share and 100 * share, 70, "%.0f")
    against = {form: ratio for name, form, _, _, ratio in beside_pytorch(results) if name.endswith("base-b32")}
    add("base: 3 times the tokens/s of PyTorch eager", against.get("eager"), 3)
    add("base: more tokens/s than torch.compile", against.get("compile"), 1)
    return rows


# --- the page --------------------------------------------------------------------------------------------------------


def verdict(results):
    bad = [result["name"] for result in results if result["outcome"] not in ("passed", "not run", "running")]
    running = [result["name"] for result in results if result["outcome"] == "running"]
    skipped = [result["name"] for result in results if result["outcome"] == "not run"]
    lines = ["**FAILED: %s.** What follows is what ran all the same." % ", ".join(bad) if bad else "All that ran passed."]
    if running:
        lines.append("Running: %s." % running[0])
    if skipped:
        lines.append("Not run: %s." % ", ".join(skipped))
    return lines + [""]


def machine_rows(facts):
    rows = [["GPU %d" % i, ", ".join("%s %s" % item for item in sorted(gpu.items()))] for i, gpu in enumerate(facts.get("gpus", []))]
    rows += [["other programs on the GPU", facts.get("others") or "none"]] if facts.get("gpus") else [["GPU", "none"]]
    rows += [["host", ", ".join("%s %s" % item for item in sorted(facts.get("host", {}).items()))],
             ["glibc", facts.get("libc", "-")], ["programs", facts.get("programs", "-")],
             ["made from", facts.get("commit", "unknown")]]
    rows += [[what, path] for what, path in sorted(facts.get("libraries", {}).items())]
    rows += [["not found", ", ".join(facts["not found"])]] if facts.get("not found") else []
    rows += [[name, path or "not found"] for name, path in sorted(facts.get("tools", {}).items())]
    torch = facts.get("torch", {})
    return rows + [["PyTorch", torch.get("problem") or ", ".join("%s %s" % item for item in sorted(torch.items()))]]


def stage_rows(results):
    rows = []
    for result in results:
        outcome = result["outcome"] + (": " + result["why"] if result["why"] else "")
        rows.append([result["name"], outcome.replace("|", "/"), "%.1f" % result["seconds"]])
    return rows


def tests_lines(results):
    values = next((r["values"] for r in results if r["name"] == "tests"), {})
    lines = ["- failed: %s" % name for name in values.get("failing", [])]
    lines += ["- %.1f s: %s" % (seconds, name) for seconds, name in values.get("slowest", [])]
    return ["## Tests: what failed, and the slowest", ""] + lines + [""] if lines else []


def page(header, facts, results, predicted, folder):
    lines = ["# GPU check, %s" % header["date"], ""] + verdict(results) + ["    %s" % header["command"], ""]
    lines += table(["", ""], machine_rows(facts))
    lines += ["## Stages", ""] + table(["stage", "outcome", "s"], stage_rows(results)) + tests_lines(results)
    if not header["rehearsal"]:
        lines += ["## Targets", "", "They are set for one H100.", ""] + table(["target", "measured", ""], targets(results))
        rows = comparisons(results, predicted)
        lines += ["## Measured beside predicted", "", predicted["source"], ""]
        lines += peaks_table(results, predicted) + steps_table(results, predicted)
        lines += ["### The largest misses", "", "By microseconds, the largest first:", ""]
        lines += table(["part", "us predicted", "measured", "difference"],
                       [[name, shown(least), shown(us), "%+.1f" % (us - least)] for _, name, least, us in largest_misses(rows)])
        lines += ["### A step, kernel by kernel", "", predicted["kernels"]["step"], ""] + kernels_table(results, predicted)
        lines += ["### Operators", ""] + operators_table(results, predicted)
    pairs = beside_pytorch(results)
    if pairs and not header["rehearsal"]:
        lines += ["## Beside PyTorch, tokens/s", ""]
        lines += table(["stage", "Tandem", "PyTorch", "ratio"],
                       [[name, shown(ours, "%.0f"), shown(theirs, "%.0f"), shown(of, "%.2f")] for name, _, ours, theirs, of in pairs])
    lines += ["## Commands and the end of their output", ""]
    for result in results:
        lines += output_lines(result, folder)
    return "\n".join(lines) + "\n"


def output_lines(result, folder):
    if result["outcome"] == "not run":
        return []
    path = os.path.join(folder, result["name"] + ".log")
    most = 12 if result["outcome"] == "passed" else 30
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            tail = [line.rstrip() for line in file.read().splitlines()[-most:]]
    except OSError:
        tail = []
    return ["### " + result["name"], ""] + ["    $ " + command for command in result["commands"]] + \
        ["    " + line for line in tail if not line.startswith("$ ")] + [""]


def write(folder, header, facts, results, predicted):
    """Writes report.json and report.md into the folder, replacing those of before."""
    everything = {"header": header, "machine": facts, "stages": results,
                  "beside_predictions": [dict(zip(("kind", "name", "predicted_us", "measured_us"), row))
                                         for row in comparisons(results, predicted)]}
    folder = pathlib.Path(folder)
    replace(folder / "report.json", json.dumps(everything, indent=1) + "\n")
    replace(folder / "report.md", page(header, facts, results, predicted, str(folder)))
