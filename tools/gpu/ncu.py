"""Reading of what `ncu --csv` prints: kernels in the order in which they ran, each with its time and its bytes."""
import csv
import io

from compare.files import Failure

TIME, BYTES = "gpu__time_duration.sum", "dram__bytes.sum"
METRICS = TIME + "," + BYTES

# Factors to microseconds and to bytes. ncu names units in two ways, by version, and prefixes them unless told not to.
MICROSECONDS = {"ns": 1e-3, "nsecond": 1e-3, "us": 1.0, "usecond": 1.0, "ms": 1e3, "msecond": 1e3, "s": 1e6,
                "second": 1e6}
OF_BYTES = {"byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}


def number(text):
    """Returns a number as ncu prints it, with commas between thousands; None for what is none, such as n/a."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def rows_of(text):
    """Returns the table's header and rows. Before and after it there are lines of ncu and of the program."""
    lines = text.splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if begin is None:
        hint = ""
        if "ERR_NVGPUCTRPERM" in text:
            hint = ": the driver lets only administrators profile (ERR_NVGPUCTRPERM)"
        raise Failure("ncu printed no table" + hint)
    rows = list(csv.reader(io.StringIO("\n".join(line for line in lines[begin:] if line.startswith('"')))))
    return rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]


def scaled(value, unit, metric):
    factors = MICROSECONDS if metric == TIME else OF_BYTES
    value = number(value)
    if value is None:
        return None
    if unit not in factors:
        raise Failure("ncu gave %s in '%s', a unit that is not known here" % (metric, unit))
    return value * factors[unit]


def kernels_of(text):
    """Returns a dictionary for each kernel, in order: name, us and bytes; None where ncu had no number.

    Both forms are read: --page=details has a row for each metric, --page=raw a column for each and units in the first row.
    """
    header, rows = rows_of(text)
    column = {name: i for i, name in enumerate(header)}
    for needed in ("ID", "Kernel Name"):
        if needed not in column:
            raise Failure("ncu's table has no column '%s'" % needed)
    kernels = {}
    tall = "Metric Name" in column
    units = {} if tall or not rows else {name: rows[0][i] for name, i in column.items()}
    for row in rows if tall else rows[1:]:
        kernel = kernels.setdefault(row[column["ID"]], {"name": row[column["Kernel Name"]], "us": None, "bytes": None})
        metrics = [row[column["Metric Name"]]] if tall else [name for name in (TIME, BYTES) if name in column]
        for metric in metrics:
            if metric not in (TIME, BYTES):
                continue
            value, unit = ((row[column["Metric Value"]], row[column["Metric Unit"]]) if tall else
                           (row[column[metric]], units[metric]))
            kernel["us" if metric == TIME else "bytes"] = scaled(value, unit, metric)
    ordered = sorted(kernels.items(), key=lambda item: int(item[0]) if item[0].isdigit() else 0)
    if not any(kernel["us"] is not None for _, kernel in ordered):
        raise Failure("ncu's table has no time of any kernel")
    return [kernel for _, kernel in ordered]
