"""Reads what train --tensorboard writes by TensorBoard's own reader, which checks the format. Needs PyPI's tensorboard;
without it the test is skipped.

The argument is the path of train.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    print("skipped: there is no TensorBoard for this python3; pip install tensorboard")
    sys.exit(77)

TRAIN = sys.argv[1]
EVERYTHING = {"scalars": 0, "tensors": 0, "histograms": 0}  # 0: no limit on the number of points


class TensorBoard(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.text = self.folder / "text.txt"
        self.text.write_text("the tape reads the tensor of the gradient. " * 400)

    def train(self, *arguments):
        subprocess.run([TRAIN, self.text, "--device=cpu", *arguments], check=True, capture_output=True)

    def read(self, folder):
        reader = EventAccumulator(str(folder), size_guidance=EVERYTHING)
        reader.Reload()
        return reader

    def test_reads_a_run_that_was_killed_and_resumed(self):
        run = self.folder / "run"
        small = ["--d=32", "--d-projected=8", "--layers=2", "--batch-size=4", "--unroll=16", "--eval-window=16",
                 "--warmup=5", "--eval-batch-size=2", "--eval-every=10", "--sample-every=15", "--sample-bytes=20"]
        self.train(f"--out={run}", "--tensorboard", "--steps=40", *small, "--max-steps=20")
        # The metrics and events of a step that is lost in a kill: the checkpoint is older.
        metrics = (run / "metrics.jsonl").read_text()
        last = (run / "last.safetensors").read_bytes()
        self.train(f"--resume={run}", "--tensorboard", "--max-steps=25")
        (run / "last.safetensors").write_bytes(last)
        (run / "metrics.jsonl").write_text(metrics)
        self.train(f"--resume={run}", "--tensorboard")
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        reader = self.read(run)
        for tag, field, kind in (("train/loss", "loss", "loss"), ("train/gradient_norm", "gradient_norm", "loss"),
                                 ("dev/nats", "dev_nats", "dev_nats"), ("test/bpc", "test_bpc", "test_bpc")):
            points = [(point.step, point.value) for point in reader.Scalars(tag)]
            expected = [(row["step"], row[field]) for row in rows if kind in row]
            self.assertEqual([step for step, _ in points], [step for step, _ in expected], tag)
            for (_, value), (_, number) in zip(points, expected):
                self.assertAlmostEqual(value, number, places=5)
        texts = reader.Tensors("sample/on_the_way")
        samples = [row for row in rows if "sample" in row and "weights_of_step" not in row]
        self.assertEqual([text.step for text in texts], [row["step"] for row in samples])
        shown = texts[0].tensor_proto.string_val[0].decode()
        self.assertEqual(shown.replace("\n    ", "\n")[4:], samples[0]["prompt"] + samples[0]["sample"])
        self.assertEqual(reader.SummaryMetadata("sample/on_the_way").plugin_data.plugin_name, "text")
        histograms = [tag for tag in reader.Tags()["histograms"] if tag.startswith("gradients/")]
        self.assertGreater(len(histograms), 5)
        for tag in histograms:
            points = reader.Histograms(tag)
            self.assertEqual([point.step for point in points], [10, 20, 30, 40])
            value = points[0].histogram_value
            self.assertEqual(sum(value.bucket), value.num)
            self.assertLessEqual(value.min, value.max)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
