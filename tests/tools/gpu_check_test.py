"""Tests of tools/gpu_check: its stages and limits, what it reads and reports, and the whole of it with stand-ins for programs.

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
from gpu import kernels, machine, main, ncu, pack, plan, process, readers, report  # noqa: E402
from gpu.stage import Check, Stage  # noqa: E402

SIZES = {"unroll": 1024, "batch_size": 4, "d": 3072, "d_projected": 768, "heads": 1, "vocabulary": 99}

# As ncu prints it with --page=details: lines of its own, a row for each metric, numbers with commas.
DETAILS = '''==PROF== Connected to process 7 (/x/bench)
step bf16: 10.6 ms
"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC","Section Name","Metric Name","Metric Unit","Metric Value"
"0","7","bench","127.0.0.1","nvjet_hsh_128x192_64x4_1x2_h_bz_TNT","1","13","(384, 1, 1)","(132, 1, 1)","0","9.0","Command line profiler metrics","dram__bytes.sum","byte","36,200,000"
"0","7","bench","127.0.0.1","nvjet_hsh_128x192_64x4_1x2_h_bz_TNT","1","13","(384, 1, 1)","(132, 1, 1)","0","9.0","Command line profiler metrics","gpu__time_duration.sum","ns","27,700"
"1","7","bench","127.0.0.1","void tandem::cuda::<unnamed>::forward_kernel<(bool)0, (bool)0, tandem::bf16>(tandem::cuda::<unnamed>::Rows<T3>, tandem::cuda::<unnamed>::ScanArgs<T3>)","1","13","(32, 1, 1)","(384, 1, 1)","0","9.0","Command line profiler metrics","dram__bytes.sum","Mbyte","151"
"1","7","bench","127.0.0.1","void tandem::cuda::<unnamed>::forward_kernel<(bool)0, (bool)0, tandem::bf16>(tandem::cuda::<unnamed>::Rows<T3>, tandem::cuda::<unnamed>::ScanArgs<T3>)","1","13","(32, 1, 1)","(384, 1, 1)","0","9.0","Command line profiler metrics","gpu__time_duration.sum","usecond","57.50"
==PROF== Disconnected from process 7
'''
# The same with --page=raw: a column for each metric, and a first row of units. A kernel that was not measured has n/a.
RAW = '''==PROF== Connected to process 7 (/x/bench)
"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC","dram__bytes.sum","gpu__time_duration.sum"
"","","","","","","","","","","","byte","nsecond"
"10","7","bench","127.0.0.1","second, with ""quotes"", and commas","1","13","(1, 1, 1)","(1, 1, 1)","0","9.0","n/a","2,000"
"9","7","bench","127.0.0.1","first","1","13","(1, 1, 1)","(1, 1, 1)","0","9.0","1,000","500"
'''


def result(name, outcome="passed", **values):
    return {"name": name, "outcome": outcome, "why": "", "seconds": 1.0, "commands": [], "values": values}


class Profile(unittest.TestCase):
    def test_both_forms_of_the_table_are_read(self):
        first, second = ncu.kernels_of(DETAILS)
        self.assertEqual((first["us"], first["bytes"]), (27.7, 36.2e6))
        self.assertEqual((second["us"], second["bytes"]), (57.5, 151e6))
        self.assertIn("ScanArgs", second["name"])
        ran = ncu.kernels_of(RAW)
        self.assertEqual([k["name"] for k in ran], ["first", 'second, with "quotes", and commas'])  # by number, not by text
        self.assertEqual([(k["us"], k["bytes"]) for k in ran], [(0.5, 1000), (2.0, None)])

    def test_what_is_no_table_is_refused(self):
        for text, part in (("", "no table"), ("==ERROR== ERR_NVGPUCTRPERM - The user", "administrators"),
                           ('"ID","Name"\n"0","x"\n', "no column 'Kernel Name'"),
                           (DETAILS.replace('"usecond"', '"fortnight"'), "fortnight"),
                           (RAW.replace('"2,000"', '"n/a"').replace('"500"', '""'), "no time")):
            with self.assertRaisesRegex(Failure, part):
                ncu.kernels_of(text)

    def test_products_are_told_apart_by_their_shapes(self):
        names = {text: kernels.product_part(text, SIZES) for text in (
            "4096x768x3072 nt 1", "8192x1536x768 nt 1", "512x1536x768 nt 4", "512x768x2048 nn 4", "1408x768x1024 tn 4",
            "4096x9216x768 nt 1", "4096x768x9216 nn 1", "9216x768x4096 tn 1", "4096x99x3072 nt 1", "1x2x3 nn 1")}
        self.assertEqual(list(names.values()), [
            "W_q, forward (memory and x)", "W_kv, forward", "attention: QK', again in backward, and dY V'",
            "attention: PV and dQ", "attention: dK and dV", "W_o, forward", "W_o, gradient of the input",
            "W_o, gradient of the weight", "logits", "other products"])
        known = report.load_predictions()["kernels"]["parts"]
        self.assertEqual([name for name in names.values() if name not in known], ["other products"])
        self.assertEqual([part for part, _ in kernels.OWN if part not in known], [])

    def test_the_parts_of_a_step_add_up(self):
        own = "void tandem::cuda::rows_kernel<RowShape, tandem::cuda::AttentionForward<bf16, NoPositions>>(T2)"
        ran = [{"name": name, "us": us, "bytes": 10.0} for name, us in (
            ("nvjet_a", 1.0), ("cublasLt::splitKreduce_kernel<32>", 0.5), (own, 2.0), ("nvjet_b", 4.0),
            ("void tandem::cuda::fill_kernel<float>(float)", 8.0), ("at::native::other", 16.0))]
        parts, note = kernels.parts_of_step(ran, ["4096x9216x768 nt 1", "512x768x1536 nn 4"], SIZES)
        self.assertEqual(note, "")
        self.assertEqual({name: (part["launches"], part["us"]) for name, part in parts.items()}, {
            "W_o, forward": (2, 1.5), "attention: mask and softmax, forward": (1, 2.0), "attention: PV and dQ": (1, 4.0),
            kernels.REST: (1, 8.0), "kernels of others": (1, 16.0)})
        parts, note = kernels.parts_of_step(ran, ["4096x9216x768 nt 1"], SIZES)
        self.assertIn("2 kernels of products for 1 products", note)
        self.assertEqual(parts[kernels.UNKNOWN_PRODUCTS]["us"], 5.5)


class Report(unittest.TestCase):
    def test_the_largest_misses_come_first(self):
        predicted = {"steps": {"step-base-b4": {"ms": [10.0, 12.0], "mfu": [34, 39]}},
                     "kernels": {"step": "", "parts": {"part %d" % i: {"us": 100.0, "mb": 1, "launches": 1} for i in range(20)}},
                     "operators": {"scan": {"forward_us": 5.0}}, "source": "a model",
                     "peaks": {"bf16_tflops": 790, "copy_tbs": 4.3}}
        parts = {"part %d" % i: {"us": 100.0 + (i if i % 2 else -i), "bytes": 1e6, "launches": 1} for i in range(19)}
        results = [result("step-base-b4", ms={"median": 50.0}), result("profile", parts=parts, kernels=19, us=1.0),
                   result("operators", operators=[{"case": "scan bf16", "forward_us": 5000.0}])]
        rows = report.comparisons(results, predicted)
        self.assertIn(("step", "step-base-b4", 10000.0, 50000.0), rows)
        self.assertEqual(len(rows), 1 + 19 + 1)
        misses = report.largest_misses(rows)
        self.assertEqual([name for _, name, _, _ in misses], ["part %d" % i for i in range(18, 8, -1)])
        self.assertEqual(misses[0][3] - misses[0][2], -18)
        # Without a profile the operators stand in.
        self.assertEqual(report.largest_misses(report.comparisons(results[::2], predicted))[0][1], "scan, forward")
        page = report.page({"date": "d", "command": "c", "rehearsal": False}, {}, results, predicted, "/none")
        self.assertIn("| part 18 | 100.0 | 82.0 | -18.0 |", page)
        self.assertIn("| part 19 | 1 | - | 100.0 | - | - | 1.0 | - |", page)  # predicted, and not seen

    def test_the_predictions_add_up_to_the_step(self):
        predicted = report.load_predictions()
        total = sum(part["us"] for part in predicted["kernels"]["parts"].values())
        self.assertAlmostEqual(total / 1e3, predicted["steps"]["step-base-b4"]["ms"][0], delta=0.05)

    def test_pytorch_is_compared_at_the_same_sizes_only(self):
        steps = [result("step-a", sizes="T 1", tokens_per_second=30.0), result("step-b", sizes="T 2", tokens_per_second=9.0)]
        rows = [{"form": "eager", "tokens_per_s": 10}]
        compared = report.beside_pytorch(steps + [result("eager-a", sizes="T 1", rows=rows), result("eager-c", sizes="T 3", rows=rows)])
        self.assertEqual([row[4] for row in compared], [3.0, None])


class Readers(unittest.TestCase):
    def test_doctest(self):
        rule = "=" * 79
        text = ("0.25 s: cuda: a\n%s\n/x/b.cpp:7:\nTEST CASE:  cuda: b\n\n/x/b.cpp:9: ERROR: CHECK( 1 == 2 )\n%s\n/x/c.cpp:7:\n"
                "TEST CASE:  cuda: c\n\n/x/c.cpp:9: MESSAGE: fine\n3.5 s: cuda: b\n" % (rule, rule))
        with self.assertRaisesRegex(Failure, "before its summary, after 2"):
            readers.tests(False)(text)
        text += rule + "\n[doctest] test cases:   2 |   1 passed | 1 failed | 7 skipped\n"
        values = readers.tests(True)(text)
        self.assertEqual((values["failing"], values["cases"], values["slowest"][0]), (["cuda: b"], 2, (3.5, "cuda: b")))
        with self.assertRaisesRegex(Failure, "no GPU"):
            readers.tests(True)(text + "MESSAGE: skipped: no GPU (none)\n")
        with self.assertRaisesRegex(Failure, "no test case"):
            readers.tests(False)("[doctest] test cases:   0 |   0 passed | 0 failed | 7 skipped\n")

    def test_sanitizer(self):
        ran = "[doctest] test cases:   1 |   1 passed | 0 failed |\n"
        self.assertEqual(readers.sanitizer(ran + "========= ERROR SUMMARY: 0 errors\n")["summary"], "ERROR SUMMARY: 0 errors")
        for text in (ran, "========= ERROR SUMMARY: 0 errors\n"):
            with self.assertRaises(Failure):
                readers.sanitizer(text)


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
        self.assertIn("there is no stage speed", self.run_check("--only=speed", expect=2))

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
