"""What of this machine edgezoo can use, what is missing or broken, and the command that cures it.

Every check stands alone: one that fails says so in its own row. Nothing is created, opened for long or downloaded.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from edgezoo import __version__
from edgezoo.address import without_login
from edgezoo.backends.tensorrt import engines
from edgezoo.machine import cores, cpu_model, cpu_quota, instruction_sets
from edgezoo.measure import devices, jetson, nvidia, packages
from edgezoo.measure.findings import Row, row_of, tried
from edgezoo.measure.jetson import Board
from edgezoo.measure.speeds import choosing
from edgezoo.weights import cache_folder

_LIST_S = 0.5  # how long to add up the sizes of a large cache

# Name, its line in OpenCV's build information, what it is for, the cure.
_OPENCV_PARTS = (
    ("FFmpeg", "FFMPEG", "video files and network streams", "pip install --force-reinstall opencv-python"),
    ("GStreamer", "GStreamer", "gstreamer: sources, a Jetson's hardware decoder", "apt install python3-opencv"),
    ("V4L2", "v4l/v4l2", "cameras", "pip install --force-reinstall opencv-python"),
)
_ASK_OPENVINO = "from edgezoo.backends.openvino import capabilities; print(*capabilities())"


def doctor(*, root: Path = jetson.ROOT) -> list[Row]:
    """Everything looked at, section by section. Never raises; takes a few seconds where a runtime must be tried.

    `root`: where the files lie that tell a Jetson.
    """
    board = jetson.board(root)
    checks: list[tuple[str, str, Callable[[], Iterator[Row]]]] = [
        ("software", "software", _software),
        ("images", "opencv", partial(_opencv, board)),
        ("images", "display", _display),
        ("cameras", "cameras", _cameras),
        ("runtimes", "onnxruntime", partial(_onnxruntime, board)),
        ("runtimes", "CUDA", partial(nvidia.cuda, board)),
        ("runtimes", "openvino", partial(_openvino, board)),
        ("runtimes", "tensorrt", partial(nvidia.tensorrt, board)),
        ("runtimes", "cuda-python", partial(nvidia.cuda_python, board)),
        ("tools", "tools", _tools),
        ("machine", "CPU", _cpu),
        ("machine", "GPU", partial(nvidia.gpu, board)),
        ("speeds", "speeds", _speeds),
        ("files", "cache", _cache),
        ("files", "engines", _engines),
        ("files", "mirror", _mirror),
    ]
    with ThreadPoolExecutor(len(checks)) as pool:
        return [row for rows in pool.map(lambda check: _safely(*check), checks) for row in rows]


def _safely(section: str, name: str, check: Callable[[], Iterator[Row]]) -> list[Row]:
    rows: list[Row] = []
    try:
        rows.extend(check())
    except Exception as error:
        rows.append(Row(section, name, "broken", f"could not be looked at: {type(error).__name__}: {_line(error)}"))
    return rows


def _software() -> Iterator[Row]:
    system = f"{platform.system()} {platform.machine()}"
    yield Row("software", "Python", "ok", f"{platform.python_version()}, {system}")
    yield Row("software", "edgezoo", "ok", __version__)
    for name in ("numpy", "onnx"):
        yield row_of("software", name, packages.load(name), f"pip install --force-reinstall {name}")


def _opencv(board: Board | None) -> Iterator[Row]:
    found = packages.load("cv2", brought_by="opencv")
    own = jetson.opencv_cure(board) if board is not None else ""
    yield row_of("images", "OpenCV", found, own or 'pip install "edgezoo[cpu]"')
    if found.module is None:
        return
    built = found.module.getBuildInformation()
    gui = re.search(r"^\s*GUI:\s*(.*\S)", built, re.MULTILINE)
    if gui is not None and gui[1] != "NONE":
        yield Row("images", "windows", "ok", gui[1])
    else:
        cure = "pip uninstall -y opencv-python-headless && pip install opencv-python"
        yield Row("images", "windows", "missing", "OpenCV is built without", own or cure)
    for name, key, use, cure in _OPENCV_PARTS:
        part = re.search(rf"^\s*{key}:\s*(\w+)", built, re.MULTILINE)
        if part is not None and part[1] == "YES":
            yield Row("images", name, "ok", use)
        elif name != "V4L2" or sys.platform == "linux":
            yield Row("images", name, "missing", f"OpenCV is built without; it is for {use}", own or cure)


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


def _onnxruntime(board: Board | None) -> Iterator[Row]:
    found = packages.load("onnxruntime", brought_by="onnxruntime")
    cure = nvidia.onnxruntime_cure(board) if board is not None else 'pip install "edgezoo[cpu]"'
    yield row_of("runtimes", "onnxruntime", found, cure)
    if found.module is not None:
        providers = found.module.get_available_providers()
        yield Row(
            "runtimes", "providers", "ok", ", ".join(name.removesuffix("ExecutionProvider") for name in providers)
        )


def _openvino(board: Board | None) -> Iterator[Row]:
    """With what this CPU computes in, as the runtime says: asked in a process of its own, for it is large."""
    found = packages.find("openvino")
    if found.state != "ok":
        cure = 'pip install "edgezoo[openvino]"' if board is None else "pip install openvino"
        yield row_of("runtimes", "openvino", found, cure)
        return
    trouble, told = tried(_ASK_OPENVINO)
    if trouble:
        cure = "pip install --force-reinstall openvino"
        yield Row("runtimes", "openvino", "broken", f"{found.what}: {trouble}", cure)
    else:
        able = ", ".join(name for name in told.split() if name in ("BF16", "FP16", "FP32", "INT8"))
        yield Row("runtimes", "openvino", "ok", f"{found.what}, {able} on this CPU")


def _tools() -> Iterator[Row]:
    yield row_of("tools", "torch", packages.find("torch"), 'pip install "edgezoo[export]"')
    yield row_of("tools", "onnxscript", packages.find("onnxscript"), 'pip install "edgezoo[export]"')
    yield row_of("tools", "pycocotools", packages.find("pycocotools"), 'pip install "edgezoo[eval]"')


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


def _engines() -> Iterator[Row]:
    """Compiled ones; what each is for, and whether it still fits, `edgezoo cache list` tells."""
    count, size = engines.told()
    if count:
        yield Row("files", "engines", "ok", f"{count} compiled, {size / 2**20:.1f} MiB: edgezoo cache list")


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


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
