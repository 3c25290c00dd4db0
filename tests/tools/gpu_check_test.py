"""Tests of tools/gpu_check: its stages and limits, its archive, and the whole of it with stand-ins for programs.

The argument is the folder of the tools.
"""
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

TOOLS = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(TOOLS))
from compare.files import Failure  # noqa: E402
from gpu import machine, main, pack, plan  # noqa: E402
from gpu.stage import Check, Stage  # noqa: E402
from gpu_report_test import DETAILS, SIZES  # noqa: E402

class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def script(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return str(path)


class Stages(InFolder):
    def check(self, stages, limit=None):
        """Runs stages, and returns their results and what was reported on the way."""
        reported = []
        check = Check(str(self.folder), limit, lambda results: reported.append([(r["name"], r["outcome"]) for r in results]),
                      say=lambda text: None)
        check.run(stages)
        return check, reported

    def test_a_stage_that_fails_stops_no_other_and_each_is_reported_at_once(self):
        def broken(text):
            raise ValueError("no number")

        def empty(text):
            raise Failure("nothing ran")

        check, reported = self.check([
            Stage("one", [["true"], ["echo", "seen"]], 1, 5, read=lambda text: {"text": text}), Stage("two", [["false"], ["true"]], 1, 5),
            Stage("three", [["/no/such/program"]], 1, 5), Stage("four", [["true"]], 1, 5, read=broken),
            Stage("five", [["true"]], 1, 5, read=empty), Stage("six", [], 1, 5, missing="there is none"), Stage("seven", [["true"]], 1, 5)])
        outcomes = [(r["name"], r["outcome"], r["why"]) for r in check.results]
        self.assertEqual([o[:2] for o in outcomes], [("one", "passed"), ("two", "FAILED"), ("three", "FAILED"), ("four", "FAILED"),
                                                     ("five", "FAILED"), ("six", "not run"), ("seven", "passed")])
        self.assertEqual(outcomes[1][2], "exit code 1")
        self.assertIn("no number", outcomes[3][2])
        self.assertIn("$ echo seen\nseen\n", check.results[0]["values"]["text"])
        self.assertIn([("one", "running")], reported)
        self.assertIn([("one", "passed")], reported)
        self.assertFalse(check.ok())

    def test_a_stage_that_hangs_is_cut_with_all_its_children(self):
        pids = self.folder / "pids"
        hang = self.script("hang", 'trap "" TERM\nsleep 300 &\necho $! $$ > %s\necho begun\nwait\nsleep 300\n' % pids)
        began = time.monotonic()
        check, _ = self.check([Stage("hang", [[hang]], 1, 0.7, read=lambda text: {"text": text}), Stage("next", [["true"]], 1, 5)])
        self.assertLess(time.monotonic() - began, 15)
        self.assertEqual([r["outcome"] for r in check.results], ["cut", "passed"])
        self.assertIn("begun", check.results[0]["values"]["text"])  # what it said before it was cut is kept
        for pid in map(int, pids.read_text().split()):
            self.assertFalse(self.alive(pid), "process %d is left" % pid)

    def test_children_that_a_program_leaves_behind_are_ended(self):
        pids = self.folder / "pids"
        leave = self.script("leave", "sleep 300 &\necho $! > %s\n" % pids)
        check, _ = self.check([Stage("leave", [[leave]], 1, 5)])
        self.assertEqual(check.results[0]["outcome"], "passed")
        self.assertFalse(self.alive(int(pids.read_text())))

    def alive(self, pid):
        for _ in range(50):  # a killed process is there until its parent has seen it
            try:
                if pathlib.Path("/proc/%d/stat" % pid).read_text().split(")")[1].split()[0] == "Z":
                    return False
            except (OSError, IndexError):
                return False
            time.sleep(0.02)
        return True

    def test_the_time_for_all_leaves_stages_out_and_cuts_others(self):
        check, _ = self.check([Stage("short", [["true"]], 0.1, 5), Stage("cut", [["sleep", "60"]], 2, 60),
                               Stage("late", [["true"]], 10, 60)], limit=2)
        self.assertEqual([(r["name"], r["outcome"]) for r in check.results],
                         [("short", "passed"), ("cut", "cut"), ("late", "not run")])
        self.assertIn("takes about 10 s", check.results[2]["why"])

    def test_a_signal_ends_the_stage_and_names_the_rest(self):
        def interrupt(log):
            raise KeyboardInterrupt

        check = Check(str(self.folder), None, lambda results: None, say=lambda text: None)
        with self.assertRaises(KeyboardInterrupt):
            check.run([Stage("one", [interrupt], 1, 5), Stage("two", [["true"]], 1, 5)])
        self.assertEqual([(r["name"], r["outcome"]) for r in check.results], [("one", "interrupted"), ("two", "not run")])


class Machine(InFolder):
    def test_what_the_programs_were_built_for(self):
        program = self.folder / "bench"
        for content, kind, libraries in (
                (b"x\0libcublasLt.so.13\0/usr/lib/libcublasLt.so\0libcudnn.so.9", "gpu", {"cuBLASLt": "libcublasLt.so.13",
                                                                                       "cuDNN": "libcudnn.so.9"}),
                (b"simulated GPU", "simulator", {}), (b"", "cpu", {})):
            program.write_bytes(content)
            self.assertEqual(machine.kind_of(str(program)), (kind, libraries))

    def test_libraries_are_taken_from_the_first_folder_that_has_them(self):
        for folder, name in (("toolkit", "libcublasLt.so.13"), ("wheel", "libcublasLt.so.13"), ("wheel", "libcudnn.so.9")):
            (self.folder / folder).mkdir(exist_ok=True)
            (self.folder / folder / name).touch()
        found = machine.find_libraries({"cuBLASLt": "libcublasLt.so.13", "cuDNN": "libcudnn.so.9", "NCCL": "libnccl.so.2"},
                                       [str(self.folder / "toolkit"), str(self.folder / "wheel")])
        self.assertEqual(found, {"cuBLASLt": str(self.folder / "toolkit/libcublasLt.so.13"),
                                 "cuDNN": str(self.folder / "wheel/libcudnn.so.9")})

    def test_an_older_c_library_is_refused(self):
        program = self.folder / "bench"
        program.write_bytes(b"GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.9")
        self.assertEqual(machine.libc_needed([str(program)]), (2, 34))
        here = machine.libc_here()
        self.assertGreater(here, (2, 0))
        program.write_bytes(b"GLIBC_%d.%d" % (here[0], here[1] + 1))
        with self.assertRaisesRegex(Failure, "the programs need glibc"):
            machine.check_libc([str(program)])

    def test_durations(self):
        self.assertEqual([main.seconds(text) for text in ("90", "90s", "8m", "1.5h")], [90, 90, 480, 5400])
        for text in ("", "8 m", "0", "-1", "8d"):
            with self.assertRaises(Exception):
                main.seconds(text)


class Order(InFolder):
    def test_the_stages_come_in_the_order_of_a_first_run_and_fit_eight_minutes(self):
        work = plan.Plan("/root", "/root/build", "/out", "python3", quick=True, rehearse=False)
        work.facts.update(tools={"ncu": "/x/ncu", "compute-sanitizer": None}, torch={"torch": "2", "gpu": True}, libraries={
            "cuBLASLt": "/a/libcublasLt.so.13", "cuDNN": "/b/libcudnn.so.9"})
        stages = [work.machine_stage()] + work.stages()
        names = [stage.name for stage in stages]
        self.assertEqual(names, ["machine", "tests", "peaks", "step-base-b4", "step-base-b32", "step-txl-matched", "operators",
                                 "profile", "memcheck", "eager-base-b32", "racecheck", "compile-base-b32"])
        until_eager = stages[:names.index("eager-base-b32") + 1]
        self.assertLessEqual(sum(stage.expected for stage in until_eager), main.QUICK)
        self.assertEqual(stages[names.index("tests")].limit, 150)
        self.assertIn("compute-sanitizer", stages[names.index("memcheck")].missing)
        self.assertEqual(stages[1].environment["TANDEM_LIBRARY_PATH"], "/a:/b")
        self.assertEqual(stages[1].environment["TANDEM_TEST_DATA"], "/root/tests")
        profile = stages[names.index("profile")].commands[0]
        for word in ("--clock-control=none", "--profile-from-start=off", "--csv", "--batch-size=4"):
            self.assertIn(word, profile)
        self.assertTrue(any("dram__bytes.sum" in word for word in profile))
        full = plan.Plan("/root", "/root/build", "/out", "python3", quick=False, rehearse=False)
        full.facts.update(work.facts)
        self.assertEqual([stage.name for stage in full.stages()][:len(names) - 1], names[1:])
        self.assertGreater(len(full.stages()), len(names) - 1)
        full.facts.update(gpus=["a", "b", "c"])
        exchange = next(stage for stage in full.stages() if stage.name == "exchange")
        self.assertEqual(exchange.commands[0][1:4], ["exchange", "--ranks=3", "--device=cuda"])
        for made in (work, full):
            self.assertEqual(plan.stage_names(made.quick, False), [stage.name for stage in [made.machine_stage()] + made.stages()])

    def test_the_manual_has_the_seconds_of_the_stages(self):
        work = plan.Plan("/root", "/root/build", "/out", "python3", quick=True, rehearse=False)
        work.facts.update(tools={"ncu": None, "compute-sanitizer": None}, torch={"problem": "none"})
        manual = (TOOLS / "gpu_check").read_text()
        for stage in [work.machine_stage()] + work.stages():
            self.assertRegex(manual, r"\n +%s +%d +%d  " % (stage.name, stage.expected, stage.limit))


STEP = {"device": "cuda:0, test", "sizes": SIZES, "peaks": {"bf16": 7e5}, "operators": [
    {"operator": "sru_scan", "precision": "bf16", "case": "3 planes (1024, 4, 3072)", "error": 1e-3,
     "forward": {"ms": {"median": 0.06}, "share_of_copy": 0.8}, "backward": {"ms": {"median": 0.09}, "share_of_copy": 0.6}}],
    "peak_table": {"products": [], "copies": [{"bytes": 1, "gbs": 4000.0}]},
    "steps": [{"precision": "bf16", "ms": {"median": 11.0}, "tokens_per_step": 4096, "tokens_per_second": 372364.0,
               "products": ["4096x768x3072 nt 1"]}]}


class Whole(InFolder):
    """The whole check, with stand-ins: a folder as --pack leaves it, and a PATH on which there is a GPU."""

    def setUp(self):
        super().setUp()
        root = self.folder / "root"
        for name in ("tools/gpu_check", "tools/compare/files.py", "tools/compare/__init__.py"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOOLS.parent / name, root / name)
        shutil.copytree(TOOLS / "gpu", root / "tools/gpu", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "manifest.json").write_text('{"commit": "abc1234"}')
        (self.folder / "step.json").write_text(json.dumps(STEP))
        self.script("root/build/tools/bench", '''# libcublasLt.so.113 libcudnn.so.109
for word; do case $word in --json=*) cp %s "${word#*=}" ;; esac; done
echo "preset base: T 1024, M 1024, B 4"
echo "  MFU: 38.5 %% of the data sheet's 989 TFLOP/s"
''' % (self.folder / "step.json"))
        self.script("root/build/tools/train", "")
        self.script("root/build/tools/evaluate", "")
        self.script("root/build/tests/gpu_tests", '''echo "0.5 s: cuda: data from $TANDEM_TEST_DATA, libraries from $TANDEM_LIBRARY_PATH"
echo "[doctest] test cases:  1 |  1 passed | 0 failed | 0 skipped |"
''')
        self.script("bin/nvidia-smi", 'case $* in *query-gpu*) echo "NVIDIA H200, 580.1, 143771 MiB, 700 W, 1980 MHz, 9.0" ;; esac\n')
        (self.folder / "details.csv").write_text(DETAILS)
        self.script("bin/ncu", '''for word; do case $word in --log-file=*) cp %s "${word#*=}" ;; esac; done
while [ "${1#-}" != "$1" ]; do shift; done
exec "$@"
''' % (self.folder / "details.csv"))
        self.script("bin/compute-sanitizer", '''while [ "${1%%/gpu_tests}" = "$1" ]; do shift; done
"$@"
echo "========= ERROR SUMMARY: 0 errors"
''')
        # A Python without torch, whose packages have cuDNN in a folder of their own.
        wheel = self.folder / "wheel/nvidia/cudnn/lib"
        wheel.mkdir(parents=True)
        (wheel / "libcudnn.so.109").touch()
        (self.folder / "toolkit/lib64").mkdir(parents=True)
        (self.folder / "toolkit/lib64/libcublasLt.so.113").touch()
        self.environment = {"PATH": "%s:/usr/bin:/bin" % (self.folder / "bin"), "PYTHON": "/usr/bin/python3",
                            "PYTHONPATH": str(self.folder / "wheel"), "CUDA_HOME": str(self.folder / "toolkit")}
        (self.folder / "wheel/torch.py").write_text("raise ImportError('no torch in this test')\n")
        self.root, self.out = root, self.folder / "out"

    def command(self, *more):
        return [sys.executable, "-B", str(self.root / "tools/gpu_check"), "--out=%s" % self.out, "--quick", *more]

    def run_check(self, *more, expect=0):
        done = subprocess.run(self.command(*more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                              env=self.environment)
        self.assertEqual(done.returncode, expect, done.stdout)
        return done.stdout

    def outcomes(self):
        return {r["name"]: r["outcome"] for r in json.loads((self.out / "report.json").read_text())["stages"]}

    def test_all_stages_and_the_report(self):
        self.run_check()
        outcomes = self.outcomes()
        self.assertEqual([name for name, outcome in outcomes.items() if outcome != "passed"], ["eager-base-b32", "compile-base-b32"])
        page = (self.out / "report.md").read_text()
        self.assertIn("| made from | abc1234 |", page)
        self.assertIn("no torch in this test", page)
        self.assertIn("| cuDNN | %s |" % (self.folder / "wheel/nvidia/cudnn/lib/libcudnn.so.109"), page)
        self.assertIn("cuda: data from %s, libraries from %s:%s" % (
            self.root / "tests", self.folder / "toolkit/lib64", self.folder / "wheel/nvidia/cudnn/lib"), page)
        self.assertIn("| step-base-b4 | 10.6 .. 12.0 | 11.00 | 1.04 | 34 .. 39 | 38.5 | 372364 |", page)
        # One layer of ten ran here, so the scan is the largest miss but for the parts that did not run.
        self.assertIn("| scan, forward | 575.0 | 57.5 | -517.5 |", page)
        self.assertIn("sru_scan bf16 3 planes (1024, 4, 3072), backward: 70 % of a copy | 60 | MISSED |", page)
        self.assertIn("| products in bf16, TFLOP/s | 790.0 | 700.0 | 0.89 |", page)
        self.assertTrue((self.out / "profile.csv").exists())

    def test_a_failure_shows_in_exit_code_and_report_and_stops_nothing(self):
        self.script("root/build/tests/gpu_tests", "echo an unheard of error; exit 9\n")
        self.run_check("--only=tests,peaks", expect=1)
        self.assertEqual(self.outcomes(), {"machine": "passed", "tests": "FAILED", "peaks": "passed"})
        page = (self.out / "report.md").read_text()
        self.assertIn("**FAILED: tests.**", page)
        self.assertIn("an unheard of error", page)

    def test_without_a_gpu_or_a_library_it_says_so(self):
        self.script("bin/nvidia-smi", "echo no devices were found; exit 6\n")
        self.assertIn("no GPU here: nvidia-smi says: no devices were found", self.run_check(expect=1))
        shutil.rmtree(self.out)
        self.script("bin/nvidia-smi", "echo 'X, 1, 2, 3, 4, 9.0'\n")
        (self.folder / "toolkit/lib64/libcublasLt.so.113").unlink()
        self.assertIn("libcublasLt.so.113 is nowhere", self.run_check(expect=1))

    def test_a_device_that_is_not_used_is_a_failure(self):
        (self.folder / "step.json").write_text(json.dumps(dict(STEP, device="cpu, test")))
        self.assertIn("bench ran on cpu", self.run_check("--only=peaks", expect=1))

    def test_a_signal_leaves_the_report_whole(self):
        self.script("root/build/tests/gpu_tests", "echo begun; sleep 300\n")
        with subprocess.Popen(self.command(), env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as check:
            log = self.out / "tests.log"
            for _ in range(1000):
                if log.exists() and "begun" in log.read_text():
                    break
                time.sleep(0.02)
            self.assertEqual(json.loads((self.out / "report.json").read_text())["stages"][-1]["outcome"], "running")
            check.send_signal(signal.SIGINT)
            self.assertEqual(check.wait(30), 3)
        self.assertEqual(self.outcomes()["tests"], "interrupted")
        self.assertEqual(self.outcomes()["memcheck"], "not run")

    def test_the_folder_is_kept_from_being_written_over(self):
        self.out.mkdir()
        (self.out / "something").touch()
        self.assertIn("is not empty", self.run_check(expect=2))
        shutil.rmtree(self.out)

    def test_a_stage_that_does_not_exist_is_named_before_anything_is_built_or_made(self):
        setup = self.script("root/tools/setup", "touch %s\n" % (self.folder / "built"))
        for mode in ("--build", "--run", "--rehearse"):
            said = self.run_check(mode, "--only=tests,speed", expect=2)
            self.assertIn("--only=tests,speed: there is no stage 'speed'; there are machine, tests, peaks, ", said)
            self.assertFalse(self.out.exists())
        self.assertFalse((self.folder / "built").exists(), "%s ran" % setup)
        # Stages that --quick leaves out are not there with it.
        self.assertIn("there is no stage 'operators-all'", self.run_check("--only=operators-all", expect=2))

    def test_wrong_usage(self):
        self.run_check("--run", "--pack=x", expect=2)
        self.run_check("--limit=soon", expect=2)


class Packing(InFolder):
    def test_an_archive_runs_where_its_sources_are_not(self):
        build = self.folder / "build"
        for name in pack.PROGRAMS:
            (build / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy("/bin/true", build / name)
        said = []
        pack.write(TOOLS.parent, build, str(self.folder / "plain.tar"), 0, say=said.append)
        path = str(self.folder / "packed.tar.xz")
        pack.write(TOOLS.parent, build, path, 0, say=said.append)
        self.assertLess(os.path.getsize(path), os.path.getsize(str(self.folder / "plain.tar")))
        self.assertIn("MB, unpacked", said[0])
        subprocess.run(["tar", "-xf", path, "-C", str(self.folder)], check=True)
        root = self.folder / pack.FOLDER
        manifest = json.loads((root / "manifest.json").read_text())
        self.assertEqual(manifest["kind"], "cpu")
        self.assertEqual(machine.libc_needed([str(build / "tools/bench")]), tuple(map(int, manifest["glibc"].split("."))))
        for name in ("tests/golden/srupp/text.bin", "tools/gpu/predicted.json", "tools/pytorch/bench.py", "build/tests/gpu_tests"):
            self.assertTrue((root / name).exists(), name)
        done = subprocess.run([sys.executable, str(root / "tools/gpu_check"), "--run", "--rehearse", "--only=machine", "--out=%s" % (
            self.folder / "out")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, cwd="/")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertFalse(list(root.rglob("__pycache__")))

    def test_libraries_find_their_own_beside_them(self):
        # An ELF file of a header, one program header (PT_DYNAMIC) and three entries, the second of which is DT_RUNPATH.
        dynamic = struct.pack("<qQqQqQ", 1, 7, 29, 8, 0, 0)
        content = struct.pack("<4s28xQ14xHH6x", b"\x7fELF", 64, 56, 1) + struct.pack("<II6Q", 2, 0, 120, 0, 0, 48, 48, 8)
        (self.folder / "libx.so").write_bytes(content + dynamic)
        (self.folder / "packed").mkdir()
        copy = pack.with_older_run_path(self.folder / "libx.so", self.folder / "packed")
        self.assertEqual(copy.read_bytes(), content + struct.pack("<qQqQqQ", 1, 7, 15, 8, 0, 0))

    def test_the_c_library_is_not_packed(self):
        libraries = pack.libraries_of([sys.executable])
        self.assertFalse([name for name in libraries if name.startswith(("libc.so", "libm.so", "ld-linux"))])
        with self.assertRaisesRegex(Failure, "there is no"):
            pack.write(TOOLS.parent, self.folder, str(self.folder / "x.tar.xz"), 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
