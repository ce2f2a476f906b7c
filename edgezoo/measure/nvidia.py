"""What NVIDIA's software on this machine can do, and what of it does not go together."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from edgezoo.backends import _nvidia
from edgezoo.backends.onnxruntime import libraries
from edgezoo.measure import devices, jetson, packages
from edgezoo.measure.findings import Row, row_of, tried
from edgezoo.measure.jetson import Board, Interpreter

_FOR_CUDA_12 = 'pip install tensorrt-cu12 "cuda-python==12.*"'
_OLDEST_TENSORRT = (8, 6)

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
_ASK_TENSORRT = """
import tensorrt
assert hasattr(tensorrt, "Runtime"), "its libraries are not installed"
print(tensorrt.__version__)
"""


def gpu(board: Board | None) -> Iterator[Row]:
    """The GPUs, and whether their driver is new enough for what is installed."""
    if board is not None:
        yield from jetson.rows(board)
    found = devices.nvidia()
    if found is None:
        if board is None:
            yield Row("machine", "GPU", "missing", "no NVIDIA GPU is seen")
    elif found.trouble:
        cure = "reboot after a driver's update; else reinstall the driver"
        yield Row("machine", "GPU", "broken", found.trouble, cure)
    else:
        yield Row("machine", "GPU", "ok", found.name)
    yield driver(wanted(), there=found is not None or board is not None)


def driver(wants: Mapping[str, int], *, there: bool) -> Row:
    """By the driver's own word. `wants`: packages, with the major version of CUDA that each is made for."""
    newest = max(wants.values(), default=None)
    trouble, cure = _parted(_nvidia.missing(newest))
    takes = _nvidia.driver_cuda()
    if not trouble:
        what = f"runs CUDA {takes[0]}.{takes[1]} and older" if takes else "starts"
        return Row("machine", "driver", "ok", what)
    if takes is not None and newest is not None and takes[0] < newest:
        names = " and ".join(name for name, cuda in wants.items() if cuda == newest)
        trouble = f"too old for {names}: {trouble}"
        if takes[0] == 12 and not _nvidia.on_jetson():
            cure += f", or packages for CUDA 12: {_FOR_CUDA_12}"
    return Row("machine", "driver", "broken" if there else "missing", trouble, cure)


def _parted(told: str) -> tuple[str, str]:
    """What is wrong, and what to do, of a line that says both."""
    what, _, cure = told.partition("; ")
    return what, cure.removeprefix("try: ")


def wanted() -> dict[str, int]:
    """The packages of this environment that ask for a version of CUDA."""
    found = {}
    for cuda in (13, 12, 11):
        if _version(f"tensorrt-cu{cuda}-libs") or _version(f"tensorrt-cu{cuda}"):
            found["TensorRT"] = cuda
            break
    if (major := re.match(r"\d+", _cuda_python())) is not None:
        found["cuda-python"] = int(major[0])
    runtime = packages.load("onnxruntime").module
    if runtime is not None and (built_for := libraries.cuda_of(runtime)) is not None:
        found["onnxruntime"] = built_for
    return found


def _version(package: str) -> str:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return ""


def _cuda_python() -> str:
    """Its version; empty where it is not installed."""
    return _version("cuda-bindings") or _version("cuda-python")


def cuda(board: Board | None) -> Iterator[Row]:
    """CUDA is tried, in a process of its own: listed libraries may be missing, and a driver may hang or crash."""
    runtime = packages.load("onnxruntime").module
    if runtime is None:
        return
    if "CUDAExecutionProvider" not in runtime.get_available_providers():
        cure = ""
        if board is not None:
            cure = onnxruntime_cure(board)
        elif devices.nvidia() is not None:
            cure = 'pip uninstall -y onnxruntime && pip install "edgezoo[gpu]"'
        yield Row("runtimes", "CUDA", "missing", "this onnxruntime is built without", cure)
        return
    told, _ = tried(_TRY_CUDA, _ONE_NODE.hex())
    if told:
        trouble, cure = _parted(told)
        cure = cure or ('pip install "onnxruntime-gpu[cuda,cudnn]"' if board is None else onnxruntime_cure(board))
        yield Row("runtimes", "CUDA", "broken", trouble, cure)
    else:
        yield Row("runtimes", "CUDA", "ok", "ran one operator")


def onnxruntime_cure(board: Board) -> str:
    return (
        f"NVIDIA's Jetson build of onnxruntime-gpu for {board.name}, not the common index's; "
        "pip install onnxruntime runs on the CPU"
    )


def tensorrt(board: Board | None) -> Iterator[Row]:
    found = packages.find("tensorrt")
    if found.state == "ok" and not (board is not None and board.too_old):
        yield loaded(board, found)
    elif board is not None:
        yield on_jetson(board, jetson.interpreter())
    elif devices.nvidia() is None:
        yield Row("runtimes", "tensorrt", found.state, f"{found.what}; it is for NVIDIA GPUs")
    else:
        yield row_of("runtimes", "tensorrt", found, _tensorrt_cure())


def _tensorrt_cure() -> str:
    """By the CUDA that the driver takes."""
    takes = _nvidia.driver_cuda()
    return _FOR_CUDA_12 if takes is not None and takes[0] < 13 else 'pip install "edgezoo[tensorrt]"'


def loaded(board: Board | None, found: packages.Package) -> Row:
    """Of a package that Python finds: whether it loads, in a process of its own."""
    if board is not None and board.cuda is not None and board.cuda < 13 and not _of_the_system("tensorrt"):
        what = f"{found.what} is pip's, which does not know this board"
        return Row("runtimes", "tensorrt", "broken", what, "pip uninstall -y tensorrt")
    trouble, told = tried(_ASK_TENSORRT)
    if trouble:
        cure = "pip install --force-reinstall tensorrt"
        if board is not None:
            cure = "sudo apt install --reinstall nvidia-jetpack python3-libnvinfer"
        return Row("runtimes", "tensorrt", "broken", f"{found.what}: {trouble}", cure)
    version = told.strip()
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < _OLDEST_TENSORRT:
        cure = 'pip install "edgezoo[tensorrt]"' if board is None else "flash JetPack 6 or newer"
        return Row("runtimes", "tensorrt", "broken", f"{version} is too old: edgezoo speaks 8.6 and newer", cure)
    return Row("runtimes", "tensorrt", "ok", version)


def _of_the_system(module: str) -> bool:
    """Whether apt put it there."""
    spec = importlib.util.find_spec(module)
    return spec is not None and "dist-packages" in Path(spec.origin or "").resolve().parts


def on_jetson(board: Board, python: Interpreter) -> Row:
    """Why Python does not find TensorRT."""
    version = board.tensorrt
    here = f"{board.name} has TensorRT {version}"
    if board.too_old:
        return Row("runtimes", "tensorrt", "broken", f"that of {board.name} is too old", "flash JetPack 6 or newer")
    if not version:
        return Row(
            "runtimes", "tensorrt", "missing", f"{board.name} is here without it", "sudo apt install nvidia-jetpack"
        )
    if board.python and board.python != python.version:
        what = f"{here}, for Python {board.python}; this is {python.version}"
        return Row("runtimes", "tensorrt", "missing", what, jetson.VENV)
    if "python3-libnvinfer" not in board.packages:
        what = f"{here}, but not its Python bindings"
        return Row("runtimes", "tensorrt", "missing", what, "sudo apt install python3-libnvinfer")
    if not python.sees_system:
        return Row("runtimes", "tensorrt", "missing", f"{here}, which this environment does not see", jetson.VENV)
    what = f"{here} and its Python bindings, but Python does not find them"
    return Row("runtimes", "tensorrt", "broken", what, "sudo apt install --reinstall python3-libnvinfer")


def cuda_python(board: Board | None) -> Iterator[Row]:
    """Of the same major version as the CUDA of a JetPack; elsewhere the driver's row tells whether it fits."""
    version = _cuda_python()
    fitting = board.cuda if board is not None else None
    if not version:
        if board is not None:
            pin = f' "cuda-python=={fitting}.*"' if fitting else ""
            cure = f'pip install "edgezoo[jetson]"{pin}'
        else:
            cure = _tensorrt_cure() if devices.nvidia() is not None else ""
        yield Row("runtimes", "cuda-python", "missing", "not installed; TensorRT needs it", cure)
    elif fitting is not None and int(version.partition(".")[0]) != fitting:
        assert board is not None
        cure = f'pip install "cuda-python=={fitting}.*"'
        yield Row("runtimes", "cuda-python", "broken", f"{version}, but {board.name} has CUDA {fitting}", cure)
    else:
        yield row_of("runtimes", "cuda-python", packages.Package("ok", version), "")
