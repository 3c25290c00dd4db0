"""A campaign: many cases of each kind of fault, each case in a folder of its own, and what was found."""
import collections
import dataclasses
import itertools
import os
import random
import shutil
import signal
import time

from programs import TINY, Fault, Process, build_shim, tool_folder, write_text
from truth import Truth

SHARDS = ("--shards=4",)
CRASH, LOST, WRONG = "crash", "lost", "wrong message"


class Broken(Exception):
    """A command fails without any fault; the text says how."""


@dataclasses.dataclass
class Point:
    """A call at which a run can be disturbed."""
    resumed: bool  # whether the run was resumed half-way
    number: int
    call: str
    file: str
    number_of_kind: int  # among the calls of this name alone


@dataclasses.dataclass
class Tally:
    """What the cases of one kind came to: a row of the table at the end."""
    tries: int = 0
    hits: int = 0
    resumed: int = 0
    seconds: float = 0
    ends: list = dataclasses.field(default_factory=list)  # seconds from faults of ranks to the ends of their runs
    faults: dict = dataclasses.field(default_factory=lambda: {LOST: 0, CRASH: 0, WRONG: 0})


class Campaign:
    """The programs, the uninterrupted run, and the calls at which a run can be disturbed."""

    def __init__(self, build, work, seed):
        self.work, self.seed = work, seed
        self.orders = {}  # for each kind, what its cases do in turn
        self.of_shards = None  # made when first needed
        self.notes = set()  # what could not be tried on this machine, and why
        self.tools = tool_folder(build)
        self.shim = build_shim(build, work)
        self.text = work / "text.txt"
        write_text(self.text, random.Random(1))
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("FAULT_")}
        # Programs are tested on the CPU.
        self.environment |= {"CUDA_VISIBLE_DEVICES": "-1", "TANDEM_SIMULATOR_DEVICES": "0"}
        self.prepare()

    def prepare(self):
        """Makes the uninterrupted run, its best checkpoints, a half of it, and the calls that both make on their files."""
        self.truth, calls = self.make_truth("truth")
        # A run that was killed between the evaluations in the middle, with rows after its last checkpoint.
        number = renames(calls, "last.safetensors")[2] + 5
        self.half = self.run_until(number, "half")
        self.points = [point for resumed in (False, True) for point in self.list_points(resumed)]

    def make_truth(self, name, more=()):
        """Makes an uninterrupted run with these arguments and its best checkpoints. Returns its Truth and its calls."""
        case = Case(self, name, 0)
        case.more = more
        start = time.monotonic()
        process = case.start_train(Fault())
        case.must(process.end())
        self.seconds = time.monotonic() - start  # what a run takes on this machine
        bests = []
        for evaluation, number in enumerate(renames(process.calls(), "best.safetensors")):
            killed = self.run_until(number, f"{name}-best-{evaluation}", more)
            bests.append((killed / "best.safetensors").read_bytes())
        return Truth(case.run, bests), process.calls()

    def truth_of_shards(self):
        """Returns the Truth of the run of four shards, by one process."""
        if not self.of_shards:
            self.of_shards, _ = self.make_truth("shards", SHARDS)
        return self.of_shards

    def run_until(self, number, name, more=()):
        """Kills a run after one of its calls, and returns its folder."""
        case = Case(self, name, 0)
        case.more = more
        ended = case.train(Fault("kill-after", number))
        if ended.code != -signal.SIGKILL:
            raise Broken(f"the command in {case.folder}/commands.txt is not killed: it {ended.describe()}")
        return case.run

    def list_points(self, resumed):
        """Returns a Point for each call that a new or a resumed run makes on files of its folder."""
        case = Case(self, "calls", int(resumed))
        if resumed:
            shutil.copytree(self.half, case.run)
        process = case.start_train(Fault())
        case.must(process.end())
        of_kind = collections.Counter()
        points = []
        for number, call, path in process.calls():
            of_kind[call] += 1
            file = path.rsplit("/", 1)[-1].removesuffix(".tmp")
            points.append(Point(resumed, int(number), call, file, of_kind[call]))
        return points

    def command(self, kind, number):
        return f"tests/faults/run --build={self.tools.parent} --seed={self.seed} --case={number} {kind}"

    def in_turn(self, kind, number, ways):
        """Returns a point and one of the ways in which `ways(point)` says that its call can go wrong.

        Case after case all of them, in an order that the seed determines: each call on each file has its turn before
        one of them, such as the many writes of metrics, has its next.
        """
        if kind not in self.orders:
            groups = {}
            for point in self.points:
                for way in ways(point):
                    groups.setdefault((point.resumed, point.call, point.file), []).append((point, way))
            draw = random.Random(f"{self.seed}/{kind}")
            for group in groups.values():
                draw.shuffle(group)
            rounds = itertools.zip_longest(*groups.values())
            self.orders[kind] = [choice for turn in rounds for choice in turn if choice]
        return self.orders[kind][number % len(self.orders[kind])]


class Case:
    """One try: a folder, random numbers of its own, and what was found. Kinds are functions of a case."""

    def __init__(self, campaign, kind, number):
        self.campaign, self.kind, self.number = campaign, kind, number
        self.random = random.Random(f"{campaign.seed}/{kind}/{number}")
        self.folder = campaign.work / f"{kind}-{number}"
        self.folder.mkdir()
        self.run = self.folder / "run"
        self.found = []  # (category, text)
        self.hits = self.resumed = self.started = 0
        self.ends = []  # seconds from a fault of a rank to the end of the run
        self.truth = getattr(campaign, "truth", None)
        self.more = ()  # arguments of a new run
        self.environment = campaign.environment | {"OMP_NUM_THREADS": str(self.random.choice([1, 1, 1, 2]))}

    def use_shards(self):
        """Makes the run one of four shards, which several ranks can share."""
        self.truth, self.more = self.campaign.truth_of_shards(), SHARDS

    # Starting programs.

    def start(self, program, arguments, fault=None, **options):
        self.started += 1
        command = [str(self.campaign.tools / program), *map(str, arguments)]
        with open(self.folder / "commands.txt", "a") as commands:
            print(*command, fault or "", file=commands)
        if fault and not fault.path:
            fault = dataclasses.replace(fault, path=str(self.run))
        return Process(command, self.folder, f"{self.started}-{program}", self.environment, self.campaign.shim, fault,
                       **options)

    def call(self, program, arguments, fault=None, **options):
        return self.start(program, arguments, fault, **options).end()

    def start_train(self, fault=None, more=(), **options):
        """Starts the run, or goes on with it if there is a checkpoint to resume from, as a user would."""
        resume = (self.run / "last.safetensors").exists()
        self.resumed += resume
        arguments = [f"--resume={self.run}", "--sample-bytes=0"] if resume else [f"--out={self.run}", *TINY, *self.more]
        return self.start("train", [self.campaign.text, "--device=cpu", *arguments, *more], fault, **options)

    def train(self, fault=None, more=(), **options):
        return self.start_train(fault, more, **options).end()

    def take_half(self):
        """Gives the case a run that was stopped half-way."""
        shutil.copytree(self.campaign.half, self.run)

    # Judging.

    def find(self, category, text):
        self.found.append((category, text))

    def must(self, ended):
        if ended.code != 0:
            raise Broken(f"the undisturbed command in {self.folder}/commands.txt {ended.describe()}")

    def judge_end(self, ended, codes=(0, 1), files=()):
        """Checks an end that was forced upon a program: one of the codes, and a message that names one of the files."""
        if ended.code is None or ended.code < 0:
            return self.find(CRASH, ended.describe())
        if ended.code not in codes:
            return self.find(WRONG, f"the exit code is not among {codes}: {ended.describe()}")
        if ended.code == 1 and "error: " not in ended.error:
            return self.find(WRONG, f"it ends with 1 and without a message: {ended.describe()}")
        if ended.code == 1 and files and not any(name in ended.error for name in files):
            self.find(WRONG, f"no word of {' or '.join(files)}: {ended.describe()}")
        return None

    def check_whole(self):
        for text in self.truth.half_files(self.run):
            self.find(LOST, text)

    def check_done(self, run=None):
        """Checks that a run that ended with 0 equals the uninterrupted one."""
        for text in self.truth.differences(run or self.run):
            self.find(LOST, text)

    def finish_run(self, more=()):
        """Goes on without faults, and compares the result with the uninterrupted run."""
        self.check_whole()
        ended = self.train(more=more)
        if ended.code != 0:
            self.find(LOST, f"the run cannot go on: {ended.describe()}")
        else:
            self.check_done()

    def finish_after(self, ended):
        """Goes on if the disturbed process did not finish the run itself."""
        if ended.code == 0:
            self.check_done()
        else:
            self.finish_run()


def renames(calls, name):
    """Returns the numbers of the calls that gave a file its final name."""
    return [int(number) for number, call, path in calls if call == "rename" and path.endswith(f"/{name}.tmp")]


def run_case(campaign, kind, function, number, tally):
    """Runs a case, adds it to the tally, and removes its folder if nothing was found. Returns the case."""
    case = Case(campaign, kind, number)
    start = time.monotonic()
    try:
        function(case)
    except Broken as broken:
        case.find(WRONG, str(broken))
    tally.seconds += time.monotonic() - start
    tally.tries += 1
    tally.hits += case.hits
    tally.ends += case.ends
    tally.resumed += case.resumed
    for category in {category for category, _ in case.found}:
        tally.faults[category] += 1
    if not case.found:
        shutil.rmtree(case.folder)
    return case


def signal_name(code):
    """Returns the name of the signal that ended a process with this negative code."""
    return signal.Signals(-code).name
