"""Tests of the campaign itself: it sees what is lost, and the shim changes the call that it is told to change. Then cases of
programs that chance seldom finds.

The argument is the folder of the build.
"""
import errno
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import sys
import tempfile
import unittest

from programs import TINY, Fault, Process, build_shim, tool_folder, write_text
from truth import Truth, first_difference, is_whole

BUILD = pathlib.Path(sys.argv[1]).resolve()
ROWS = [{"step": step, "loss": step / 3, "ms": step, "tokens_per_second": 1, "memory_bytes": 1} for step in (1, 2, 3)]
WRITER = "import os; f = os.open('run/file', os.O_RDWR | os.O_CREAT); [print(os.write(f, b'four')) for _ in range(3)]"


def checkpoint(content=b"abcd"):
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}}).encode()
    return struct.pack("<Q", len(header)) + header + content


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.run_folder = self.folder / "run"
        self.run_folder.mkdir()


class TruthTest(Folder):
    def setUp(self):
        super().setUp()
        for name in ("last.safetensors", "best.safetensors"):
            (self.run_folder / name).write_bytes(checkpoint())
        self.write_rows(ROWS)
        self.truth = Truth(self.run_folder, [checkpoint()])

    def write_rows(self, rows):
        (self.run_folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def test_an_equal_run_has_no_difference_whatever_was_measured(self):
        self.write_rows([row | {"ms": 99} for row in ROWS])
        self.assertEqual(self.truth.differences(self.run_folder), [])

    def test_a_lost_a_doubled_and_a_changed_row_are_found(self):
        for rows, words in ((ROWS[:2], "ends after 2 of 3 rows"), (ROWS + ROWS[2:], "1 rows too many"),
                            ([ROWS[0], ROWS[2]], "row 2 is")):
            self.write_rows(rows)
            self.assertIn(words, self.truth.differences(self.run_folder)[0])

    def test_half_a_row_is_found(self):
        path = self.run_folder / "metrics.jsonl"
        path.write_text(path.read_text()[:-9])
        self.assertIn("cannot be read", self.truth.differences(self.run_folder)[0])

    def test_a_missing_a_changed_and_a_left_over_file_are_found(self):
        (self.run_folder / "last.safetensors").unlink()
        (self.run_folder / "best.safetensors").write_bytes(checkpoint(b"abce"))
        (self.run_folder / "last.safetensors.tmp").touch()
        found = self.truth.differences(self.run_folder)
        self.assertEqual([text.split()[-1] for text in found], ["last.safetensors", "run", "over"])

    def test_half_a_file_and_a_best_checkpoint_of_another_run_are_found(self):
        best = self.run_folder / "best.safetensors"
        best.write_bytes(checkpoint(b"other"))
        self.assertEqual(len(self.truth.half_files(self.run_folder)), 1)
        for length in range(len(checkpoint())):
            best.write_bytes(checkpoint()[:length])
            self.assertFalse(is_whole(best), length)

    def test_the_first_difference_is_named(self):
        self.assertIn("row 2", first_difference(["a", "x"], ["a", "b"]))


class ShimTest(Folder):
    def write(self, *fault, **more):
        shim = build_shim(BUILD, self.folder)
        return Process([sys.executable, "-c", WRITER], self.folder, "writer", dict(os.environ), shim,
                       Fault(*fault, path="run/file", **more)).end()

    def content(self):
        return (self.run_folder / "file").read_bytes()

    def test_calls_are_counted_and_none_is_changed_without_an_action(self):
        ended = self.write()
        self.assertEqual((ended.code, ended.hits, self.content()), (0, [], b"four" * 3))

    def test_the_process_is_killed_before_after_or_within_a_write(self):
        for action, bytes_written in (("kill", 4), ("kill-after", 8), ("tear", 6)):
            ended = self.write(action, 2, "write")
            self.assertEqual((ended.code, len(self.content())), (-signal.SIGKILL, bytes_written), action)
            (self.run_folder / "file").unlink()
            (self.folder / "writer.log").unlink()

    def test_a_call_fails_with_the_error_given_and_is_logged(self):
        ended = self.write(f"error={errno.ENOSPC}", 3, "write")
        self.assertIn("No space left", ended.error)
        self.assertEqual([hit.split()[:2] for hit in ended.hits], [["3", "write"]])

    def test_a_write_is_short_once_or_from_then_on(self):
        self.assertEqual(self.write("short", 2, "write").output.split(), ["4", "2", "4"])
        self.assertEqual(self.write("short", 2, "write", repeat=True).output.split(), ["4", "2", "2"])

    def test_a_signal_arrives_at_the_call(self):
        self.assertEqual(self.write(f"signal={int(signal.SIGTERM)}", 1).code, -signal.SIGTERM)


class ProgramTest(Folder):
    def train(self, fault, *more):
        text = self.folder / "text.txt"
        write_text(text, random.Random(1))
        return Process([tool_folder(BUILD) / "train", text, "--out=run", "--device=cpu", *TINY, *more], self.folder, "train",
                       dict(os.environ), build_shim(BUILD, self.folder), fault).end()

    def test_a_temporary_file_that_cannot_be_looked_at_is_an_error_and_no_endless_loop(self):
        ended = self.train(Fault(f"error={errno.EIO}", 1, "stat", repeat=True, path="last.safetensors.tmp"))
        self.assertEqual(ended.code, 1)
        self.assertIn("last.safetensors: look at the temporary file: Input/output error", ended.error)

    @unittest.skipUnless(shutil.which("mpirun"), "there is no mpirun; Debian has it in openmpi-bin")
    def test_a_rank_that_stops_when_nobody_waits_for_it_any_more_does_not_keep_the_run_from_ending(self):
        for rank in (0, 1):
            ended = self.train(Fault(f"signal={int(signal.SIGSTOP)}", 1, "end", path=f"rank-{rank}"), "--ranks=2", "--timeout=2s")
            self.assertEqual(len(ended.hits), 1)
            self.assertEqual(ended.code, 1, ended.describe())
            self.assertIn("a rank has ended 2 s ago, but process ", ended.error)
            self.assertTrue(is_whole(self.run_folder / "last.safetensors"))
            shutil.rmtree(self.run_folder)
            (self.folder / "train.log").unlink()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
