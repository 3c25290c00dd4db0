"""Tests of what tools/gpu_check reads and reports: ncu's tables, parts of a step, misses, the output of tests and sanitizers.

The argument is the folder of the tools.
"""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(sys.argv[1])))
from compare.files import Failure  # noqa: E402
from gpu import kernels, ncu, readers, report, traffic  # noqa: E402

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


class Traffic(unittest.TestCase):
    def test_what_was_counted_stands_beside_what_was_predicted(self):
        def launch(name, distinct):
            return {"name": name, "bank_conflicts": 3, "read": {"distinct": distinct, "bytes": 2 * distinct, "sector_bytes": 3 * distinct},
                    "written": {"distinct": 1e6, "bytes": 1e6, "sector_bytes": 1e6}}
        scan = "void tandem::cuda::(anonymous namespace)::forward_kernel<float>(tandem::cuda::(anonymous namespace)::ScanArgs<float>)"
        parts, note = traffic.counted_parts({
            "sizes": SIZES, "products": ["4096x768x3072 nt 1"],
            "launches": [launch("product 768x4096x3072", 9e6), launch(scan, 5e6), launch(scan, 7e6), launch("fill", 0)]})
        self.assertEqual(note, "")
        self.assertEqual(parts["scan, forward"], {"launches": 2, "distinct": 14e6, "bytes": 26e6, "sector_bytes": 38e6, "bank_conflicts": 6})
        self.assertEqual(parts["W_q, forward (memory and x)"]["distinct"], 10e6)
        rows = {row[0]: row[1:] for row in traffic.rows({"scan, forward": {"mb": 7.0, "launches": 2}, "logits": {"mb": 1.0, "launches": 1}}, parts)}
        self.assertEqual(rows["scan, forward"], ["2", "2", "7.0", "14.0", "2.00", "26.0", "38.0", "6"])
        self.assertEqual(rows["logits"], ["1", "-", "1.0", "-", "-", "-", "-", "-"])
        self.assertEqual(rows[traffic.OTHERS][2:4], ["-", "1.0"])


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
            "4096x9216x768 nt 1", "4096x768x9216 nn 1", "9216x768x4096 tn 1", "4096x99x3072 nt 1", "4096x104x3072 nt 1",
            "4096x3072x104 nn 1", "99x3072x4096 tn 1", "1x2x3 nn 1")}
        self.assertEqual(list(names.values()), [
            "W_q, forward (memory and x)", "W_kv, forward", "attention: QK', again in backward, and dY V'",
            "attention: PV and dQ", "attention: dK and dV", "W_o, forward", "W_o, gradient of the input",
            "W_o, gradient of the weight", "logits", "logits", "logits, gradients", "logits, gradients", "other products"])
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


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
