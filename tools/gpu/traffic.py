"""Prints what the simulator counted of a training step beside the bytes that the model of gpu_check predicts, part by part.

    build-simulate/tests/count_traffic step --preset=base --batch-size=4 --json=step.json
    PYTHONPATH=tools python3 -m gpu.traffic step.json
"""
import json
import pathlib
import sys

from gpu import kernels

OTHERS = "copies and fills"


def counted_parts(count):
    """Returns for each part of the step its launches, and its bytes of each kind that the simulator counts."""
    parts, note = {}, ""
    for kind in ("distinct", "bytes", "sector_bytes", "bank_conflicts"):
        launches = []
        for launch in count["launches"]:
            name = launch["name"]
            value = launch[kind] if kind == "bank_conflicts" else launch["read"][kind] + launch["written"][kind]
            launches.append({"name": name.replace("product", "gemm"), "us": 0, "bytes": value})
        grouped, note = kernels.parts_of_step(launches, count["products"], count["sizes"])
        for name, part in grouped.items():
            row = parts.setdefault(OTHERS if name == "kernels of others" else name, {"launches": part["launches"]})
            row[kind] = part["bytes"]
    return parts, note


def megabytes(value):
    return "-" if value is None else "%.1f" % (value / 1e6)


def rows(predicted, parts):
    """Yields the cells of each part: launches and megabytes as predicted and as counted."""
    for name in list(predicted) + [name for name in parts if name not in predicted]:
        expected, seen = predicted.get(name, {}), parts.get(name, {})
        mb = expected.get("mb")
        ratio = "%.2f" % (seen["distinct"] / 1e6 / mb) if mb and seen else "-"
        yield [name, str(expected.get("launches", "-")), str(seen.get("launches", "-")), "-" if mb is None else "%.1f" % mb,
               megabytes(seen.get("distinct")), ratio, megabytes(seen.get("bytes")), megabytes(seen.get("sector_bytes")),
               "-" if not seen else "%d" % seen["bank_conflicts"]]


def main(path):
    count = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    predicted = json.loads((pathlib.Path(__file__).parent / "predicted.json").read_text(encoding="utf-8"))["kernels"]
    parts, note = counted_parts(count)
    print("predicted of: %s\ncounted of: %s\n" % (predicted["step"], count["step"]))
    print("| part of a step | launches predicted | counted | MB predicted | counted, each byte once | ratio | asked for "
          "| sectors | bank conflicts |")
    print("|" + "---|" * 9)
    for row in rows(predicted["parts"], parts):
        print("| " + " | ".join(row) + " |")
    if note:
        print("\n" + note)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
