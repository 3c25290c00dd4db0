"""Programs under test: how a campaign starts them, disturbs them and reads how they ended."""
import dataclasses
import os
import pathlib
import shutil
import subprocess
import time

LONGEST = 30  # seconds after which a process, which takes a fraction of one, counts as hanging

# A run of a tenth of a second with six evaluations, each of which writes both checkpoints.
TINY = ["--d=16", "--d-projected=8", "--layers=2", "--heads=1", "--batch-size=4", "--unroll=16", "--warmup=5",
        "--steps=60", "--eval-every=10", "--sample-bytes=0", "--precision=f32"]
WORDS = "tape tensor gradient scan memory state attention gate".split()


@dataclasses.dataclass
class Fault:
    """What shim.c does to a process: `action` at call `number` among `calls` ("" for all) on paths with `path` in them."""
    action: str = ""
    number: int = 0
    calls: str = ""
    repeat: bool = False
    path: str = ""


@dataclasses.dataclass
class Ended:
    """How a process ended. The code is negative if a signal ended it, and None if it had to be ended for hanging."""
    code: int | None
    output: str
    error: str
    hits: list[str]  # "NUMBER CALL PATH" of the calls that were changed
    crashed_in: str = ""  # the path of what a segmentation fault happened in, if the shim was there

    def files_hit(self):
        """Returns the names of the files, as a message should have them, whose calls were changed."""
        return sorted({pathlib.Path(hit.split(" ", 2)[2]).name.removesuffix(".tmp") for hit in self.hits})

    def describe(self):
        how = "hangs" if self.code is None else f"ends with {self.code}"
        last = self.error.strip().splitlines()[-1:] or ["no message"]
        return f"{how}: {last[0]}"


def tool_folder(build):
    """Returns the folder of the programs of a build or an installation."""
    for name in ("tools", "bin"):
        if (build / name / "train").exists():
            return build / name
    raise SystemExit(f"there is no {build}/tools/train or {build}/bin/train; build the programs, or give --build=DIR")


def build_shim(build, work):
    """Returns shim.c as a library: the one of the build if it is newer than its source, else one compiled now."""
    source = pathlib.Path(__file__).with_name("shim.c")
    for built in build.glob("tests/libtandem_fault_shim.so"):
        if built.stat().st_mtime >= source.stat().st_mtime:
            return built.resolve()
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("clang-14")
    if not compiler:
        raise SystemExit("there is no C compiler for tests/faults/shim.c; install gcc or set CC")
    library = work / "libtandem_fault_shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def write_text(path, draw, words=700):
    path.write_text("".join(draw.choice(WORDS) + draw.choice("    \n") for _ in range(words)))


class Process:
    """A program that runs, with its output in files of `folder` named `label`."""

    def __init__(self, command, folder, label, environment, shim=None, fault=None, **options):
        self.paths = {end: folder / f"{label}.{end}" for end in ("out", "err", "log")}
        if fault:
            environment = environment | {
                "LD_PRELOAD": str(shim), "FAULT_ACTION": fault.action, "FAULT_NUMBER": str(fault.number),
                "FAULT_CALLS": fault.calls, "FAULT_REPEAT": str(int(fault.repeat)), "FAULT_PATH": fault.path,
                "FAULT_LOG": str(self.paths["log"])}
        # Whoever gives a stream, a pipe for instance, reads it, too.
        with open(self.paths["out"], "wb") as out, open(self.paths["err"], "wb") as err:
            streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err}
            self.process = subprocess.Popen(command, cwd=folder, env=environment, **(streams | options))

    def running(self):
        return self.process.poll() is None

    def send(self, number):
        """Sends a signal, and returns whether the process was there to receive it."""
        alive = self.running()
        if alive:
            self.process.send_signal(number)
        return alive

    def wait(self, seconds):
        """Waits for the end, at most for this time, and returns whether it came."""
        try:
            self.process.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    def end(self):
        ended = self.wait(LONGEST)
        if not ended:
            self.process.kill()
            self.process.wait()
        self.remove_registration()
        log = self.paths["log"].read_text() if self.paths["log"].exists() else ""
        crashes = [line[6:] for line in log.splitlines() if line.startswith("crash ")]
        return Ended(crashed_in="".join(crashes[-1:]), code=self.process.returncode if ended else None,
                     output=self.paths["out"].read_text(errors="replace"),
                     error=self.paths["err"].read_text(errors="replace"),
                     hits=[line[4:] for line in log.splitlines() if line.startswith("hit ")])

    def remove_registration(self):
        """Removes what clang's OpenMP library leaves of a killed process: a later one with its number could fail by it."""
        pathlib.Path(f"/dev/shm/__KMP_REGISTERED_LIB_{self.process.pid}_{os.getuid()}").unlink(missing_ok=True)

    def seconds_since_last_call(self):
        """Returns the time since the last call that was counted."""
        return time.time() - self.paths["log"].stat().st_mtime

    def calls(self):
        """Returns the calls that were counted, as lists [number, name, path]."""
        lines = self.paths["log"].read_text().splitlines() if self.paths["log"].exists() else []
        return [line.removeprefix("hit ").split(" ", 2) for line in lines]
