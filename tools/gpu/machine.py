"""What the machine has: the GPU, its driver, the libraries that are loaded at run time, tools, and a Python with torch."""
import glob
import json
import os
import platform
import re
import shutil

from compare.files import Failure
from gpu import process

# Asked of the Python that may have torch: where its packages keep NVIDIA's libraries, which takes no time.
FOLDERS = """
import glob, json, sys
print(json.dumps([f for p in sys.path for f in sorted(glob.glob(p + "/nvidia/*/lib"))]))
"""
# Asked too, last: torch itself, which takes long to load from a cluster's file system.
TORCH = """
import json
said = {}
try:
    import torch
    said = {"torch": torch.__version__, "cuda": torch.version.cuda, "gpu": torch.cuda.is_available()}
    import triton
    said["triton"] = triton.__version__
except Exception as error:
    said["problem"] = "%s: %s" % (type(error).__name__, error)
print(json.dumps(said))
"""
LIBRARIES = {"cuBLASLt": rb"libcublasLt\.so\.\d+", "cuDNN": rb"libcudnn\.so\.\d+", "NCCL": rb"libnccl\.so\.\d+"}


def kind_of(program):
    """Returns what the programs were built for, "gpu", "simulator" or "cpu", and the libraries that they load."""
    with open(program, "rb") as file:
        content = file.read()
    names = {what: sorted(set(re.findall(pattern, content)))[:1] for what, pattern in LIBRARIES.items()}
    loaded = {what: found[0].decode() for what, found in names.items() if found}
    if b"simulated GPU" in content:
        return "simulator", {}
    return ("gpu", loaded) if "cuBLASLt" in loaded else ("cpu", {})


def libc_needed(paths):
    """Returns the newest version of the C library whose functions these programs and libraries use, as (2, 34)."""
    newest = (0, 0)
    for path in paths:
        with open(path, "rb") as file:
            for major, minor in re.findall(rb"GLIBC_(\d+)\.(\d+)", file.read()):
                newest = max(newest, (int(major), int(minor)))
    return newest


def libc_here():
    version = re.match(r"(\d+)\.(\d+)", platform.libc_ver()[1] or "")
    return (int(version.group(1)), int(version.group(2))) if version else (0, 0)


def check_libc(paths):
    """Failure: the programs were built for a newer C library than this machine's."""
    needed, here = libc_needed(paths), libc_here()
    if here < needed:
        raise Failure("the programs need glibc %d.%d, and this machine has %s: build here with --build, or pack them on an "
                      "older system" % (needed + ("%d.%d" % here if here > (0, 0) else "none that is known",)))
    return "%d.%d (the programs need %d.%d)" % (here + needed)


def toolkit_folders():
    """Returns folders of the CUDA Toolkit that exist, the likeliest first."""
    roots = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH", "CUDAToolkit_ROOT")]
    nvcc = shutil.which("nvcc")
    roots += [os.path.dirname(os.path.dirname(os.path.realpath(nvcc)))] if nvcc else []
    roots += ["/usr/local/cuda"] + sorted(glob.glob("/usr/local/cuda-*"), reverse=True) + ["/opt/cuda"]
    return list(dict.fromkeys(root for root in roots if root and os.path.isdir(root)))


def library_folders(python):
    """Returns the folders in which NVIDIA's libraries may lie: the environment's, the toolkit's, and PyTorch's wheels'."""
    folders = []
    for name in ("TANDEM_LIBRARY_PATH", "LD_LIBRARY_PATH"):
        folders += os.environ.get(name, "").split(":")
    for root in toolkit_folders():
        folders += [root + "/lib64", root + "/targets/x86_64-linux/lib", root + "/lib"]
    said, worked = process.ask([python, "-c", FOLDERS])
    folders += json.loads(said) if worked else []
    folders += ["/usr/lib/x86_64-linux-gnu", "/usr/lib64"]
    return list(dict.fromkeys(os.path.normpath(f) for f in folders if f and os.path.isdir(f)))


def find_libraries(wanted, folders):
    """Returns the path of each library that is in one of the folders, which come in the order of preference."""
    found = {}
    for what, name in wanted.items():
        for folder in folders:
            if os.path.exists(os.path.join(folder, name)):
                found[what] = os.path.join(folder, name)
                break
    return found


def find_tool(name):
    """Returns the path of one of the toolkit's programs, also where its folder is not on the PATH; None: it has none."""
    patterns = ("bin/" + name, "compute-sanitizer/" + name, "nsight-compute*/" + name)
    places = [os.path.join(root, pattern) for root in toolkit_folders() for pattern in patterns]
    places.append("/opt/nvidia/nsight-compute/*/" + name)
    found = (path for place in places for path in sorted(glob.glob(place), reverse=True) if os.access(path, os.X_OK))
    return shutil.which(name) or next(found, None)


def gpus():
    """Returns the GPUs as nvidia-smi names them. Failure: there is none."""
    fields = "name,driver_version,memory.total,power.limit,clocks.max.sm,compute_cap"
    said, worked = process.ask(["nvidia-smi", "--query-gpu=" + fields, "--format=csv,noheader"])
    if not worked or not said:
        raise Failure("no GPU here: nvidia-smi says: %s" % (said.splitlines() or ["nothing"])[0])
    return [dict(zip(fields.split(","), [cell.strip() for cell in line.split(",")])) for line in said.splitlines()]


def host():
    model = "unknown"
    try:
        with open("/proc/cpuinfo") as file:
            model = re.search(r"model name\s*: (.*)", file.read()).group(1)
    except (OSError, AttributeError):
        pass
    return {"system": platform.platform(), "cpu": model, "threads": len(os.sched_getaffinity(0)),
            "load": "%.1f %.1f %.1f" % os.getloadavg(), "python": platform.python_version()}


def torch_of(python):
    """Returns what the Python has: torch, triton, or the problem with them."""
    said, worked = process.ask([python, "-c", TORCH], limit=90)
    try:
        return json.loads(said.splitlines()[-1]) if worked else {"problem": (said.splitlines() or ["nothing"])[-1]}
    except (ValueError, IndexError):
        return {"problem": said[-200:]}


def torch_problem(torch, needs_gpu):
    """Returns why PyTorch cannot be compared with, or an empty text."""
    if "problem" in torch:
        return "no PyTorch to compare with: %s" % torch["problem"]
    if needs_gpu and not torch.get("gpu"):
        return "PyTorch finds no GPU"
    return ""
