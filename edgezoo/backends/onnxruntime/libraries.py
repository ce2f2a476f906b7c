"""The libraries of CUDA that ONNX Runtime's CUDA provider needs: found, loaded, or named with the package to install.

NVIDIA's pip packages put them where no loader looks, so they are loaded before the provider asks for them by name. All
of it is of Linux; elsewhere ONNX Runtime's own `preload_dlls` does what it can.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import io
import mmap
import re
import struct
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from edgezoo.backends import _nvidia
from edgezoo.errors import BackendError

_PROVIDER = "libonnxruntime_providers_cuda.so"
_CUDNN = "libcudnn.so.9"  # providers that do not ask for any look for it when the first convolution runs
_PACKAGES = {
    "libcublas": "nvidia-cublas",
    "libcublasLt": "nvidia-cublas",
    "libcudart": "nvidia-cuda-runtime",
    "libcudnn": "nvidia-cudnn",
    "libcufft": "nvidia-cufft",
    "libcurand": "nvidia-curand",
    "libnvJitLink": "nvidia-nvjitlink",
    "libnvrtc": "nvidia-cuda-nvrtc",
}
_NEEDED, _STRINGS = 1, 5  # entries of the dynamic section
_LOAD, _DYNAMIC = 1, 2  # kinds of segments


def load(runtime: ModuleType) -> None:
    """Everything that the provider of this onnxruntime needs, but the driver. Raises BackendError."""
    if lacking := missing(runtime):
        raise BackendError(lacking)
    if preload := getattr(runtime, "preload_dlls", None):  # from 1.21 on
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it misses, needed or not
            preload()


def missing(runtime: ModuleType) -> str:
    """Empty, or in one line which libraries are not there and what installs them; loads those that are."""
    names = _wanted(runtime)
    lacking = list(dict.fromkeys(name for name in map(_load, names) if name))
    if not lacking:
        return ""
    told = " and ".join([", ".join(lacking[:-1]), lacking[-1]] if lacking[1:] else lacking)
    return f"the CUDA provider of onnxruntime {runtime.__version__} does not find {told}; try: {_cure(names, lacking)}"


def cuda_of(runtime: ModuleType) -> int | None:
    """The major version of CUDA that the provider is built for."""
    return _cuda(_wanted(runtime))


def needed(path: Path) -> list[str]:
    """The libraries that a 64-bit ELF file asks the loader for (https://gabi.xinuos.com); none of what is no such file.

    Read from the file, for a provider that is loaded by anybody but ONNX Runtime crashes.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _needed(data) if data[:6] == b"\x7fELF\x02\x01" else []
    except (OSError, ValueError, struct.error):
        return []


def _needed(data: mmap.mmap) -> list[str]:
    start, size, count = (*struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54))
    segments = [struct.unpack_from("<IIQQQQ", data, start + k * size) for k in range(count)]
    where, length = next(((offset, size) for kind, _, offset, _, _, size in segments if kind == _DYNAMIC), (0, 0))
    entries = list(struct.iter_unpack("<qQ", data[where : where + length]))
    strings = next((value for tag, value in entries if tag == _STRINGS), 0)
    for kind, _, offset, address, _, size in segments:
        if kind == _LOAD and address <= strings < address + size:
            strings += offset - address
            break
    starts = [strings + value for tag, value in entries if tag == _NEEDED]
    return [data[start : data.find(b"\0", start)].decode() for start in starts]


def _wanted(runtime: ModuleType) -> list[str]:
    """NVIDIA's libraries but the driver's, in the order in which they can be loaded; none where that is not known."""
    provider = Path(str(runtime.__file__)).parent / "capi" / _PROVIDER
    names = [name for name in needed(provider) if name.partition(".")[0] in _PACKAGES]
    return [*names, *([_CUDNN] if names and not any(name.startswith("libcudnn.") for name in names) else [])]


def _load(name: str) -> str:
    """Load a library; the name of what was not found: its own, or of one that it needs."""
    reason = ""
    for place in (*_beside(name), name):
        try:
            ctypes.CDLL(place)
            return ""
        except OSError as error:
            reason = reason or str(error)
    found = re.match(r"(lib[\w.+-]+): cannot open shared object file", reason)
    return found[1] if found else name


def _beside(name: str) -> list[str]:
    """Where NVIDIA's pip packages have it."""
    with suppress(ImportError, ValueError):
        package = importlib.util.find_spec("nvidia")
        folders = (package.submodule_search_locations if package else None) or []
        return [str(path) for folder in folders for path in sorted(Path(folder).glob(f"*/lib/{name}"))]
    return []


def _cure(names: list[str], lacking: list[str]) -> str:
    if _nvidia.on_jetson():
        return "sudo apt install nvidia-jetpack"
    cuda = _cuda(names) or _cuda(lacking)
    if any(name.partition(".")[0] not in _PACKAGES for name in lacking) or cuda is None:
        return 'pip install --upgrade "onnxruntime-gpu[cuda,cudnn]"'
    return "pip install " + " ".join(dict.fromkeys(f'"{_package(name, cuda)}"' for name in lacking))


def _package(name: str, cuda: int) -> str:
    """The pip package that brings it, of the version that its name asks for."""
    stem, _, version = name.partition(".so.")
    package = _PACKAGES[stem]
    if cuda < 13 or package == "nvidia-cudnn":  # CUDA's own packages lost the suffix with 13
        package += f"-cu{cuda}"
    return f"{package}=={version.partition('.')[0]}.*"


def _cuda(names: list[str]) -> int | None:
    found = (re.fullmatch(r"libcublas(?:Lt)?\.so\.(\d+)", name) for name in names)
    return next((int(match[1]) for match in found if match), None)
