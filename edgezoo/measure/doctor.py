"""What of this machine edgezoo can use, what is missing or broken, and the command that cures it.

Every check stands alone: one that fails says so in its own row. Nothing is created, opened for long or downloaded.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from edgezoo import __version__
from edgezoo.address import without_login
from edgezoo.backends import backends
from edgezoo.machine import cores, cpu_model, cpu_quota, instruction_sets
from edgezoo.measure import devices, packages
from edgezoo.measure.speeds import choosing
from edgezoo.weights import cache_folder

_TRY_S = 8.0
_LIST_S = 0.5  # how long to add up the sizes of a large cache

# Name, its line in OpenCV's build information, what it is for, the cure.
_OPENCV_PARTS = (
    ("FFmpeg", "FFMPEG", "video files and network streams", "pip install --force-reinstall opencv-python"),
    ("GStreamer", "GStreamer", "gstreamer: sources, a Jetson's hardware decoder", "apt install python3-opencv"),
    ("V4L2", "v4l/v4l2", "cameras", "pip install --force-reinstall opencv-python"),
)

# y = x + x over float32 (4,): the smallest graph that a runtime can be asked to run.
_ONE_NODE = bytes.fromhex(
    "08073a350a0e0a01780a017812017922034164641201675a0f0a0178120a0a08080112040a020804620f0a0179120a0a08080112040a0208"
    "0442040a00100b"
)
_TRY_CUDA = """
import numpy, sys
from edgezoo.backends import open_backend
try:
    backend = open_backend("onnxruntime", bytes.fromhex(sys.argv[1]), device="cuda")
    assert (backend.run({"x": numpy.ones(4, numpy.float32)})["y"] == 2).all(), "it computes wrongly"
except Exception as error:
    sys.exit(" ".join(str(error).split())[:300])
"""
_ASK_OPENVINO = "from edgezoo.backends.openvino import capabilities; print(*capabilities())"


@dataclass(frozen=True, slots=True)
class Row:
    """One finding."""

    section: str
    name: str
    state: packages.State
    """`missing` need not matter: not everybody has a camera."""
    what: str
    cure: str = ""
    """What to type, where something can be done."""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def doctor() -> list[Row]:
    """Everything looked at, section by section. Never raises; takes a few seconds where a runtime must be tried."""
    sections: list[tuple[str, Callable[[], Iterator[Row]]]] = [
        ("software", _software),
        ("images", _opencv),
        ("images", _display),
        ("cameras", _cameras),
        ("runtimes", _onnxruntime),
        ("runtimes", _cuda),
        ("runtimes", _openvino),
        ("runtimes", _tensorrt),
        ("tools", _tools),
        ("machine", _cpu),
        ("machine", _gpu),
        ("speeds", _speeds),
        ("files", _cache),
        ("files", _mirror),
    ]
    with ThreadPoolExecutor(len(sections)) as pool:
        return [row for rows in pool.map(lambda section: _safely(*section), sections) for row in rows]


def _safely(section: str, check: Callable[[], Iterator[Row]]) -> list[Row]:
    rows: list[Row] = []
    try:
        rows.extend(check())
    except Exception as error:
        name = check.__name__.strip("_").replace("_", " ")
        rows.append(Row(section, name, "broken", f"could not be looked at: {type(error).__name__}: {_line(error)}"))
    return rows


def _software() -> Iterator[Row]:
    system = f"{platform.system()} {platform.machine()}"
    yield Row("software", "Python", "ok", f"{platform.python_version()}, {system}")
    yield Row("software", "edgezoo", "ok", __version__)
    for name in ("numpy", "onnx"):
        yield _of("software", name, packages.load(name), f"pip install --force-reinstall {name}")


def _opencv() -> Iterator[Row]:
    found = packages.load("cv2", brought_by="opencv")
    yield _of("images", "OpenCV", found, 'pip install "edgezoo[cpu]"')
    if found.module is None:
        return
    built = found.module.getBuildInformation()
    gui = re.search(r"^\s*GUI:\s*(.*\S)", built, re.MULTILINE)
    if gui is not None and gui[1] != "NONE":
        yield Row("images", "windows", "ok", gui[1])
    else:
        cure = "pip uninstall -y opencv-python-headless && pip install opencv-python"
        yield Row("images", "windows", "missing", "OpenCV is built without", cure)
    for name, key, use, cure in _OPENCV_PARTS:
        part = re.search(rf"^\s*{key}:\s*(\w+)", built, re.MULTILINE)
        if part is not None and part[1] == "YES":
            yield Row("images", name, "ok", use)
        elif name != "V4L2" or sys.platform == "linux":
            yield Row("images", name, "missing", f"OpenCV is built without; it is for {use}", cure)


def _display() -> Iterator[Row]:
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform != "linux" or screen:
        yield Row("images", "display", "ok", screen or "the system's own")
    else:
        cure = "write to out.mp4 or out.jsonl, or export DISPLAY=:0 where a screen is attached, or log in with ssh -X"
        yield Row("images", "display", "missing", "DISPLAY and WAYLAND_DISPLAY are not set: no windows", cure)


def _cameras() -> Iterator[Row]:
    if sys.platform != "linux":
        return
    found = False
    for camera in devices.cameras():
        found = True
        yield Row(
            "cameras", camera.path, "broken" if camera.trouble else "ok", camera.trouble or camera.name, camera.cure
        )
    if not found:
        cure = "plug one in; in a container add --device /dev/video0"
        yield Row("cameras", "camera", "missing", "there is no /dev/video*", cure)


def _onnxruntime() -> Iterator[Row]:
    found = packages.load("onnxruntime", brought_by="onnxruntime")
    yield _of("runtimes", "onnxruntime", found, 'pip install "edgezoo[cpu]"')
    if found.module is not None:
        providers = found.module.get_available_providers()
        yield Row(
            "runtimes", "providers", "ok", ", ".join(name.removesuffix("ExecutionProvider") for name in providers)
        )


def _cuda() -> Iterator[Row]:
    """CUDA is tried, in a process of its own: listed libraries may be missing, and a driver may hang or crash."""
    runtime = packages.load("onnxruntime").module
    if runtime is None:
        return
    if "CUDAExecutionProvider" not in runtime.get_available_providers():
        there = devices.nvidia() is not None
        cure = 'pip uninstall -y onnxruntime && pip install "edgezoo[gpu]"' if there else ""
        yield Row("runtimes", "CUDA", "missing", "this onnxruntime is built without", cure)
        return
    try:
        trouble, _ = _tried(_TRY_CUDA, _ONE_NODE.hex())
    except subprocess.TimeoutExpired:
        yield Row("runtimes", "CUDA", "broken", f"one operator did not run within {_TRY_S:.0f} s", "nvidia-smi")
        return
    if trouble:
        cure = 'pip install "onnxruntime-gpu[cuda,cudnn]"; see `nvidia-smi` for the CUDA version that the driver takes'
        yield Row("runtimes", "CUDA", "broken", trouble, cure)
    else:
        yield Row("runtimes", "CUDA", "ok", "ran one operator")


def _openvino() -> Iterator[Row]:
    """With what this CPU computes in, as the runtime says: asked in a process of its own, for it is large."""
    found = packages.find("openvino")
    if found.state != "ok":
        yield _of("runtimes", "openvino", found, 'pip install "edgezoo[openvino]"')
        return
    try:
        trouble, told = _tried(_ASK_OPENVINO)
    except subprocess.TimeoutExpired:
        trouble, told = f"did not load within {_TRY_S:.0f} s", ""
    if trouble:
        cure = "pip install --force-reinstall openvino"
        yield Row("runtimes", "openvino", "broken", f"{found.what}: {trouble}", cure)
    else:
        able = ", ".join(name for name in told.split() if name in ("BF16", "FP16", "FP32", "INT8"))
        yield Row("runtimes", "openvino", "ok", f"{found.what}, {able} on this CPU")


def _tensorrt() -> Iterator[Row]:
    found = packages.find("tensorrt")
    if "tensorrt" in backends():
        yield _of("runtimes", "tensorrt", found, "pip install tensorrt")
    else:
        yield Row("runtimes", "tensorrt", found.state, f"{found.what}; this edgezoo has no backend for it")


def _tried(code: str, *arguments: str) -> tuple[str, str]:
    """What went wrong with `code` in a process of its own, empty if nothing did, and what it printed.

    Raises TimeoutExpired.
    """
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TRY_S, check=False)
    if done.returncode == 0:
        return "", done.stdout
    reason = done.stderr.strip().splitlines()[-1:] or [f"the process ended with {done.returncode}"]
    return reason[0][:300], done.stdout


def _tools() -> Iterator[Row]:
    yield _of("tools", "torch", packages.find("torch"), 'pip install "edgezoo[export]"')
    yield _of("tools", "onnxscript", packages.find("onnxscript"), 'pip install "edgezoo[export]"')
    yield _of("tools", "pycocotools", packages.find("pycocotools"), 'pip install "edgezoo[eval]"')


def _cpu() -> Iterator[Row]:
    quota, count = cpu_quota(), cores()
    if quota is not None and quota < count:
        cure = f"--threads {max(1, int(quota))}"
        yield Row("machine", "CPU", "ok", f"{cpu_model()}, {count} cores, limited to the time of {quota:g}", cure)
    else:
        yield Row("machine", "CPU", "ok", f"{cpu_model()}, {count} cores")
    sets = instruction_sets()
    fast = {"avx512_vnni", "avx_vnni", "asimddp", "i8mm", "amx_int8"} & set(sets)
    if sets:
        note = "" if fast else "; none that makes INT8 faster"
        yield Row("machine", "instructions", "ok" if fast else "missing", ", ".join(sets) + note)
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    with suppress(OSError):
        if (mode := governor.read_text().strip()) == "powersave":
            cure = "sudo cpupower frequency-set -g performance"
            yield Row("machine", "clock", "ok", f"governor {mode}: speeds vary", cure)


def _gpu() -> Iterator[Row]:
    if jetson := devices.jetson():
        yield Row("machine", "Jetson", "ok", jetson)
    nvidia = devices.nvidia()
    if nvidia is None:
        if not jetson:
            yield Row("machine", "GPU", "missing", "no NVIDIA GPU is seen")
    elif nvidia.trouble:
        yield Row(
            "machine", "GPU", "broken", nvidia.trouble, "reboot after a driver's update; else reinstall the driver"
        )
    else:
        yield Row("machine", "GPU", "ok", nvidia.name)


def _speeds() -> Iterator[Row]:
    stored = choosing.told()
    for name, what, cure in stored:
        yield Row("speeds", name, "missing" if cure else "ok", what, cure)
    if not stored:
        yield Row("speeds", "measured", "missing", "nothing; it is for --precision auto", "edgezoo bench MODEL --store")


def _cache() -> Iterator[Row]:
    folder = cache_folder()
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        cure = f"export EDGEZOO_CACHE=FOLDER, or chown -R $USER {there}"
        yield Row("files", "cache", "broken", f"{folder}: {there} cannot be written to", cure)
        return
    files, size, whole = _size(folder)
    more = "" if whole else "more than "
    yield Row("files", "cache", "ok", f"{folder}: {more}{files} files, {size / 2**20:.1f} MiB")


def _size(folder: Path) -> tuple[int, int, bool]:
    """Files, bytes, and whether all were counted."""
    files = size = 0
    until = time.monotonic() + _LIST_S
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(place, name)).st_size
            files += 1
        if time.monotonic() > until:
            return files, size, False
    return files, size, True


def _mirror() -> Iterator[Row]:
    mirror = os.environ.get("EDGEZOO_MIRROR", "")
    shown = without_login(mirror)
    if not mirror:
        yield Row("files", "EDGEZOO_MIRROR", "ok", "not set: official files come from where their makers put them")
    elif "://" in mirror:
        yield Row("files", "EDGEZOO_MIRROR", "ok", f"{shown}, not tried")
    elif not Path(mirror).is_dir():
        yield Row("files", "EDGEZOO_MIRROR", "broken", f"{shown}: there is no such folder", "unset EDGEZOO_MIRROR")
    else:
        sums = "with" if (Path(mirror) / "SHA256SUMS").is_file() else "without"
        yield Row("files", "EDGEZOO_MIRROR", "ok", f"{shown}, {sums} SHA256SUMS")


def _of(section: str, name: str, found: packages.Package, cure: str) -> Row:
    return Row(section, name, found.state, found.what, "" if found.state == "ok" else found.cure or cure)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
