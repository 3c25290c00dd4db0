"""The stages of a check, in the order of a first run: what is right comes before what is fast, and the short before the long.

The seconds that a stage is expected to take are guesses; the limits leave room. See the manual of tools/gpu_check.
"""
import os
import shutil

from compare.files import Failure
from gpu import machine, ncu, process, readers
from gpu.stage import Stage

# The tests that run on the device: backend and operators, products, graphs, whole training runs, golden numbers.
ON_DEVICE = "cuda:*,cuda libraries*,nccl:*,transport:*,*golden*,lstm:*,*on every device*"
OF_REHEARSAL = "cuda:*status*,cuda:*graph computes*,cuda:*products of every kind*,cuda:*operators*,srupp golden*,cuda libraries*"
SCANNED = ("sru_scan", "layer_norm", "softmax")  # operators whose kernels share memory between threads
OPERATORS = ["sru_scan", "attention", "linear", "layer_norm", "optimizer_step"]
TINY = ["--preset=laptop", "--unroll=8", "--batch-size=2", "--d=16", "--d-projected=8", "--vocabulary=5"]
# Steps: name, preset, batch size (0: the preset's), expected seconds.
STEPS = [("step-base-b4", "base", 4, 15), ("step-base-b32", "base", 32, 25), ("step-txl-matched", "txl-matched", 0, 20)]
MORE_STEPS = [("step-base-k5", "base-k5", 0, 25)]
TOOLS = ("ncu", "compute-sanitizer")
NO_SANITIZER = "there is no compute-sanitizer on the PATH or in the toolkit"


class Plan:
    """Makes the stages for a machine. `facts` is filled by the first of them, so the others are made after it has run."""

    def __init__(self, root, programs, out, python, quick, rehearse):
        self.root = root
        self.programs = programs
        self.out = out
        self.python = python
        self.quick = quick
        self.rehearse = rehearse
        self.facts = {}
        self.kind = "gpu"

    def program(self, name):
        return os.path.join(self.programs, "tests" if name == "gpu_tests" else "tools", name)

    def file(self, name):
        return os.path.join(self.out, name)

    # --- what the machine has ---------------------------------------------------------------------------------------

    def look(self, log):
        """Fills the facts. Failure: something is missing without which no other stage can run."""
        facts = self.facts
        facts["host"] = machine.host()
        for name in ("bench", "train", "evaluate", "gpu_tests"):
            if not os.path.exists(self.program(name)):
                raise Failure("there is no %s; build it with --build, or unpack the archive of --pack" % self.program(name))
        self.kind, wanted = machine.kind_of(self.program("bench"))
        facts["programs"] = {"gpu": "for GPUs", "simulator": "for the simulator", "cpu": "for the CPU"}[self.kind]
        folder = os.path.join(self.programs, "lib")
        packed = [os.path.join(folder, name) for name in sorted(os.listdir(folder))] if os.path.isdir(folder) else []
        facts["libc"] = machine.check_libc([self.program("bench"), self.program("gpu_tests")] + packed)
        folders = machine.library_folders(self.python)
        facts["libraries"] = machine.find_libraries(wanted, folders)
        facts["not found"] = [name for what, name in wanted.items() if what not in facts["libraries"]]
        facts["tools"] = {name: machine.find_tool(name) for name in TOOLS}
        facts["torch"] = machine.torch_of(self.python)
        try:
            facts["gpus"] = machine.gpus()
        except Failure:
            if not self.rehearse:
                raise
            facts["gpus"] = []
        said, worked = process.ask(["nvidia-smi", "--query-compute-apps=name,used_memory", "--format=csv,noheader"])
        facts["others"] = said if worked else ""
        self.save_smi(log)
        self.require(folders)

    def save_smi(self, log):
        """Puts all that nvidia-smi says into the log: clocks, limits and what throttles them, for later questions."""
        for command in (["nvidia-smi"], ["nvidia-smi", "-q"]):
            said, worked = process.ask(command)
            with open(log, "a", encoding="utf-8") as file:
                file.write("$ %s\n%s\n" % (process.shown(command), said if worked else "not there"))

    def require(self, folders):
        """Failure: a library that every product needs is nowhere, or the programs do not start."""
        if "cuBLASLt" not in self.facts["libraries"] and self.kind == "gpu" and not self.rehearse:
            raise Failure("%s is nowhere: load the module of the CUDA Toolkit, set CUDA_HOME, or set PYTHON to a Python whose "
                          "torch brings it; searched %s" % (self.facts["not found"][0], ", ".join(folders)))
        for name in ("bench", "train"):
            said, worked = process.ask([self.program(name), "--help"])
            if not worked:
                raise Failure("%s does not start: %s" % (name, said[:500]))
        if self.kind != "gpu" and not self.rehearse:
            raise Failure("the programs are built %s; use --rehearse" % self.facts["programs"])

    def environment(self):
        """Returns what every program gets: its data, and where the libraries lie that are loaded at run time."""
        folders = list(dict.fromkeys(os.path.dirname(path) for path in self.facts.get("libraries", {}).values()))
        said = {"TANDEM_TEST_DATA": os.path.join(self.root, "tests"), "TANDEM_TEST_PROGRAMS": os.path.join(self.programs, "tools"),
                "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1", "TANDEM_LIBRARY_PATH": ":".join(folders)}
        for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "CUDA_CACHE_PATH"):
            said[name] = self.file("cache")
        if self.rehearse:
            said["TANDEM_TEST_OPERATOR"] = "sru_scan"
        return said

    def machine_stage(self):
        return Stage("machine", [self.look], 15, 180)

    # --- stages ------------------------------------------------------------------------------------------------------

    def on_device(self):
        return self.kind == "gpu" and not self.rehearse or self.kind == "simulator"

    def make(self, name, commands, expected, limit, **more):
        """Returns a stage; without --quick its limit is ten times as long."""
        more.setdefault("environment", {})
        more["environment"] = dict(self.environment(), **more["environment"])
        return Stage(name, commands, expected, limit if self.quick else 10 * limit, **more)

    def bench(self, what, preset, batch, json):
        """Returns a command of bench on the device, with tiny sizes where the check is rehearsed."""
        device = "cuda" if self.on_device() else "cpu"
        command = [self.program("bench")] + what + ["--device=" + device, "--json=" + self.file(json)]
        command.append("--precision=" + ("bf16" if self.on_device() else "f32"))
        if self.rehearse:
            return command + TINY + ["--rounds=1"]
        return command + ["--preset=" + preset] + (["--batch-size=%d" % batch] if batch else []) + ["--rounds=3"]

    def tests_stage(self):
        cases = OF_REHEARSAL if self.rehearse else ON_DEVICE
        return self.make("tests", [[self.program("gpu_tests"), "--test-case=" + cases, "--duration=true", "--no-colors=true"]],
                         90, 150, read=readers.tests(self.on_device()))

    def step_stage(self, name, preset, batch, expected):
        command = self.bench(["step", "--steps=%d" % (2 if self.rehearse else 8)], preset, batch, name + ".json")
        return self.make(name, [command], expected, 2 * expected + 15,
                         read=readers.step(self.file(name + ".json"), self.on_device()))

    def operators_stage(self, name, operators, expected, limit):
        command = self.bench(operators, "base", 4, name + ".json")
        return self.make(name, [command], expected, limit,
                         read=readers.operators(self.file(name + ".json"), self.on_device()))

    def profile_stage(self):
        tool = self.facts["tools"]["ncu"]
        table, json = self.file("profile.csv"), "profile.json"
        command = [tool or "ncu", "--csv", "--page=raw", "--print-units=base", "--log-file=" + table,
                   "--target-processes=all", "--profile-from-start=off", "--clock-control=none", "--cache-control=none",
                   "--metrics=" + ncu.METRICS] + self.bench(["step", "--steps=1"], "base", 4, json)
        return self.make("profile", [command], 60, 100, read=readers.profile(table, self.file(json)),
                         missing="" if tool else "there is no ncu on the PATH or in the toolkit")

    def sanitizer_stage(self, tool, cases, operators, expected, limit):
        """Watches Tandem's kernels alone, with a block of memory for each tensor, so that what lies beyond it is no other's."""
        program = self.facts["tools"]["compute-sanitizer"]
        command = [program or "compute-sanitizer", "--tool", tool, "--kernel-name", "kns=tandem", "--error-exitcode", "99",
                   "--launch-timeout", "60", self.program("gpu_tests"), "--test-case=" + cases, "--no-colors=true"]
        commands = [["env", "TANDEM_TEST_OPERATOR=" + name] + command for name in operators] or [command]
        return self.make(tool, commands, expected, limit, read=readers.sanitizer,
                         missing="" if program else NO_SANITIZER, environment={"TANDEM_ALLOCATOR": "direct"})

    def pytorch_stage(self, form, preset, batch, expected, limit):
        """Times the same step in PyTorch. Its programs are the packed ones, which say what a preset is."""
        script = os.path.join(self.root, "tools/pytorch/bench.py")
        command = [self.python, script, "--preset=" + preset, "--form=" + form, "--build=" + self.programs]
        if self.rehearse:
            command += ["--device=cpu", "--precision=f32", "--batch-size=2", "--unroll=8", "--steps=2", "--warm-up=1"]
        else:
            command += ["--precision=bf16"] + (["--batch-size=%d" % batch] if batch else [])
        name = "%s-%s%s" % (form, preset, "-b%d" % batch if batch else "")
        return self.make(name, [command], expected, limit, read=readers.pytorch,
                         missing=machine.torch_problem(self.facts["torch"], not self.rehearse))

    def exchange_stage(self):
        """Times the sum of gradients over ranks: by NCCL if each has a GPU of its own, else through the host's memory."""
        ranks = min(8, max(2, len(self.facts.get("gpus", []))))
        command = [self.program("bench"), "exchange", "--ranks=%d" % ranks, "--device=cuda", "--timeout=30s"]
        return self.make("exchange", [command], 30, 60, missing="" if shutil.which("mpirun") else "there is no mpirun on the PATH")

    def check_stage(self):
        """Trains a small model, and lets PyTorch evaluate it: the same bits per character."""
        run, text = self.file("small"), os.path.join(self.root, "tests/golden/srupp/text.bin")
        train = [self.program("train"), text, "--device=cuda", "--d=128", "--d-projected=32", "--layers=3", "--batch-size=4",
                 "--unroll=32", "--steps=300", "--out=" + run]
        check = [self.python, os.path.join(self.root, "tools/pytorch/bench.py"), "--check", "--text=" + text,
                 "--checkpoint=" + os.path.join(run, "last.safetensors"), "--build=" + self.programs]
        return self.make("pytorch-check", [train, check], 120, 180, missing=machine.torch_problem(self.facts["torch"], True))

    def stages(self):
        """Returns the stages that follow the first, by what it found."""
        stages = [self.tests_stage(),
                  self.make("peaks", [self.bench(["peak"], "base", 0, "peaks.json")], 20, 40,
                            read=readers.peaks(self.file("peaks.json"), self.on_device()))]
        stages += [self.step_stage(*step) for step in STEPS]
        stages += [self.operators_stage("operators", OPERATORS, 60, 90)]
        preset, batch = ("laptop-published", 0) if self.rehearse else ("base", 32)
        if self.rehearse:
            return stages + [self.pytorch_stage("eager", preset, batch, 30, 90)]
        stages += [self.profile_stage(),
                   self.sanitizer_stage("memcheck", "cuda: operators: values*", [], 100, 120),
                   self.pytorch_stage("eager", preset, batch, 60, 90),
                   self.sanitizer_stage("racecheck", "cuda: operators: values*", SCANNED, 60, 120),
                   self.pytorch_stage("compile", preset, batch, 120, 180)]
        return stages if self.quick else stages + self.more_stages()

    def more_stages(self):
        """Returns what a check without --quick does besides."""
        stages = [self.pytorch_stage("eager", "base", 4, 60, 90)]
        stages += [self.step_stage(*step) for step in MORE_STEPS]
        for form in ("eager", "compile"):
            stages += [self.pytorch_stage(form, preset, 0, 120, 180) for preset in ("txl-matched", "base-k5")]
        sweep = ["attention", "step", "--steps=4", "--waves=1,2,4", "--scores=f32,bf16"]
        return stages + [self.operators_stage("attention-sweep", sweep, 120, 120),
                         self.operators_stage("operators-all", ["all"], 600, 180), self.exchange_stage(),
                         self.check_stage()]


def stage_names(quick, rehearse):
    """Returns the names of all stages. They do not depend on the machine, so they are known before anything is built or run."""
    blank = Plan("", "", "", "", quick, rehearse)
    blank.facts = {"tools": dict.fromkeys(TOOLS), "torch": {}}
    return [stage.name for stage in [blank.machine_stage()] + blank.stages()]
