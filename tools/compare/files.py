"""Reading and writing of the files of runs and comparisons. A file is replaced as a whole."""
import csv
import io
import json


class Failure(Exception):
    """Ends a program with a message and an exit code: 1 failure, 2 wrong usage, 3 stopped by a signal."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


def replace(path, text):
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.replace(path)


def write_csv(path, head, rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    replace(path, text.getvalue())


def read_json(path):
    """Returns the content of a JSON file. Error: it is not JSON."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise Failure(f"{path}: is not JSON ({error}); delete it, and it is made again") from error


def write_json(path, value):
    replace(path, json.dumps(value, indent=1) + "\n")


def rows_of(path):
    """Yields the rows of a run's metrics. A run that goes on, or was killed, may leave half a line at the end."""
    # Texts of samples may hold what Unicode takes for the end of a line.
    with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict):
                yield row
