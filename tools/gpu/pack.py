"""Packing of what a machine with a GPU needs to run the check without building: one archive."""
import io
import json
import lzma
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import tarfile
import tempfile
import time

from compare.files import Failure
from gpu import machine, process

PROGRAMS = ["tools/bench", "tools/train", "tools/evaluate", "tests/gpu_tests"]
TARGETS = ["tool_bench", "tool_train", "tool_evaluate", "tandem_gpu_tests"]
SOURCES = ["LICENSE", "tools/gpu_check", "tools/gpu/*.py", "tools/gpu/*.json", "tools/compare/__init__.py",
           "tools/compare/files.py", "tools/pytorch/*.py", "tests/golden/**/*"]
# Libraries of the C library stay behind, since they must fit the machine's kernel and loader; so does the driver's library.
OF_SYSTEM = re.compile(r"linux-vdso|ld-linux|lib(c|m|dl|rt|pthread|resolv|util|anl|mvec|cuda)\.so")
PT_DYNAMIC, DT_RPATH, DT_RUNPATH = 2, 15, 29
MOST = 40e6  # bytes that an archive should have at most
FOLDER = "tandem-gpu-check"


def libraries_of(programs):
    """Returns the paths of the libraries that these programs load at their start, by name, but for the C library."""
    found = {}
    for program in programs:
        said, worked = process.ask(["ldd", str(program)])
        if not worked:
            raise Failure("ldd %s: %s" % (program, said))
        for name, path in re.findall(r"^\s*(\S+) => (not found|\S+)", said, re.M):
            if path == "not found":
                raise Failure("%s needs %s, which is not here" % (program, name))
            if not OF_SYSTEM.match(name):
                found[name] = os.path.realpath(path)
    return found


def stripped(path, folder):
    """Returns the path of a copy without symbols. Code of GPUs, and the lines that it came from, stay."""
    copy = pathlib.Path(folder) / path.name
    shutil.copyfile(path, copy)
    done = subprocess.run(["strip", "--strip-unneeded", str(copy)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise Failure("strip %s: %s" % (path, done.stdout.decode(errors="replace").strip()))
    copy.chmod(0o755)
    return copy


def with_older_run_path(path, folder):
    """Returns the path of a copy of a library that lets its own libraries be found where those of the program are.

    A library with the newer kind of run path (DT_RUNPATH) finds its own there alone; with the older (DT_RPATH) it also takes
    that of whoever loaded it. Open MPI's has the newer. Only the number of the entry differs.
    """
    content = bytearray(pathlib.Path(path).read_bytes())
    headers, = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    for header in range(headers, headers + size * count, size):
        kind, = struct.unpack_from("<I", content, header)
        begin, length = struct.unpack_from("<Q16xQ", content, header + 8)
        for entry in range(begin, begin + length, 16) if kind == PT_DYNAMIC else ():
            if struct.unpack_from("<q", content, entry)[0] == DT_RUNPATH:
                struct.pack_into("<q", content, entry, DT_RPATH)
    copy = pathlib.Path(folder) / os.path.basename(path)
    copy.write_bytes(content)
    copy.chmod(0o755)
    return copy


def commit_of(root):
    """Returns the commit of the sources, with a word if they have changed since."""
    said, worked = process.ask(["git", "-C", str(root), "rev-parse", "--short", "HEAD"])
    if not worked:
        return "unknown"
    changes, worked = process.ask(["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"])
    return said + (" with changes that are not committed" if changes or not worked else "")


def manifest(root, programs, libraries, files):
    kind, loaded = machine.kind_of(programs[0])
    return {"commit": commit_of(root), "packed": time.strftime("%Y-%m-%d %H:%M:%S"), "on": socket.gethostname(), "kind": kind,
            "glibc": "%d.%d" % machine.libc_needed(files), "loaded_at_run_time": sorted(loaded.values()),
            "libraries": sorted(libraries)}


class Archive:
    """Writes a tar whose files belong to nobody and are dated alike; compressed, unless the name says otherwise."""

    def __init__(self, path, level, compress):
        # The programs share their kernels: a window that holds a whole program stores them once.
        filters = [{"id": lzma.FILTER_LZMA2, "preset": level, "dict_size": 1 << 27}]
        self.compressed = lzma.open(path, "wb", format=lzma.FORMAT_XZ, filters=filters) if compress else open(path, "wb")
        self.tar = tarfile.open(fileobj=self.compressed, mode="w", format=tarfile.PAX_FORMAT)
        self.bytes = 0

    def info(self, name, size, mode):
        info = tarfile.TarInfo(FOLDER + "/" + name)
        info.size, info.mode, info.mtime = size, mode, int(time.time())
        self.bytes += size
        return info

    def add(self, name, path):
        path = pathlib.Path(path)
        with open(path, "rb") as file:
            self.tar.addfile(self.info(name, path.stat().st_size, 0o755 if os.access(path, os.X_OK) else 0o644), file)

    def add_text(self, name, text):
        self.tar.addfile(self.info(name, len(text.encode()), 0o644), io.BytesIO(text.encode()))

    def close(self):
        self.tar.close()
        self.compressed.close()


def write(root, build, path, level, say=print):
    """Packs programs, libraries, tests' data and scripts. Failure: a program is not built, or a library is missing."""
    root, build, began = pathlib.Path(root), pathlib.Path(build), time.time()
    programs = [build / name for name in PROGRAMS]
    for program in programs:
        if not program.exists():
            raise Failure("there is no %s; build it, or let --pack do so" % program)
    libraries = libraries_of(programs)
    temporary = path + ".tmp"
    with tempfile.TemporaryDirectory() as folder:
        copies = [stripped(program, folder) for program in programs]
        archive = Archive(temporary, level, not path.endswith(".tar"))
        try:
            # The largest come one after another, so that what they share lies within the window.
            for name, copy in zip(PROGRAMS, copies):
                archive.add("build/" + name, copy)
            archive.add_text("manifest.json", json.dumps(manifest(root, copies, libraries, copies + list(libraries.values())),
                                                         indent=1) + "\n")
            for name, library in sorted(libraries.items()):
                archive.add("build/lib/" + name, with_older_run_path(library, folder))
            for pattern in SOURCES:
                for source in sorted(root.glob(pattern)):
                    if source.is_file() and "__pycache__" not in source.parts:
                        archive.add(str(source.relative_to(root)), source)
        finally:
            archive.close()
    os.replace(temporary, path)
    size = os.path.getsize(path)
    say("%s: %.1f MB, unpacked %.1f MB, %d libraries, in %.0f s" % (path, size / 1e6, archive.bytes / 1e6, len(libraries),
                                                                 time.time() - began))
    if size > MOST and not path.endswith(".tar"):
        say("note: that is more than %.0f MB" % (MOST / 1e6))
