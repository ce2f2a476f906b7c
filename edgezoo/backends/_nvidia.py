"""What an NVIDIA GPU needs of this machine before any package, and how its users keep out of each other's way.

The driver is asked by its own library (https://docs.nvidia.com/cuda/cuda-driver-api), in a process of its own: it may
crash or hang, and a process that has asked it cannot fork any more.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

_ASK_S = 30.0  # a machine with eight sleeping GPUs takes more than ten
_NO_DEVICE = 100
_REASONS = {  # what cuInit answers, in words and with what helps
    2: "the GPU has no memory left; `nvidia-smi` tells who has it",
    34: "the libcuda that is found is the one to link with; take the folder stubs out of LD_LIBRARY_PATH",
    46: "another program has the GPU for itself; `nvidia-smi` tells which",
    304: "it may not use the GPU; look at the rights of /dev/nvidia*, on a Jetson: sudo usermod -aG video,render $USER",
    802: "the machine's switches between GPUs are not up; try: sudo systemctl start nvidia-fabricmanager",
    803: "its library and its kernel module are of two versions, as after an update; reboot",
    804: "a cuda-compat library is in the way, which this GPU does not take; take it out of LD_LIBRARY_PATH",
    999: "the kernel module does not answer; try: sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm, or reboot",
}
_DRIVERS = {12: "525", 13: "580"}  # the first for each CUDA


@dataclass(frozen=True, kw_only=True, slots=True)
class Driver:
    """What the driver answered."""

    trouble: str = ""
    """Why it answered nothing."""
    code: int = 0
    """CUresult of cuInit."""
    gpus: int = 0
    cuda: int = 0
    """The newest CUDA that it runs, 12040 for 12.4; 0: not told."""


def missing(cuda: int | None = None, *, gpu: int = 0) -> str:
    """Empty, or in one line what is not there and how to get it; `cuda`: the major version that is needed.

    Never raises, and answers within half a minute.
    """
    driver = _ask()
    if driver.trouble:
        return driver.trouble
    if driver.code not in (0, _NO_DEVICE):
        reason = _REASONS.get(driver.code, "`nvidia-smi` may tell more; reboot, or reinstall the driver")
        return f"the NVIDIA driver is there but does not start (CUDA error {driver.code}): {reason}"
    if not driver.gpus:
        if (hidden := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
            return f"CUDA_VISIBLE_DEVICES={hidden!r:.40} hides every GPU; try: unset CUDA_VISIBLE_DEVICES"
        return f"the NVIDIA driver is there but sees no GPU; {_in_container() or '`nvidia-smi` may tell why'}"
    if gpu >= driver.gpus:
        return f"there is no GPU {gpu}: there {_are(driver.gpus)}, counted from 0; try cuda:0"
    major, minor = driver.cuda // 1000, driver.cuda % 1000 // 10
    if cuda is not None and 0 < major < cuda:
        newer = "a newer JetPack" if on_jetson() else f"driver {_DRIVERS.get(cuda, 'of its time')} or newer"
        return f"the NVIDIA driver runs CUDA {major}.{minor} at most, and CUDA {cuda} is needed; install {newer}"
    return ""


def driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA that the driver runs; None where there is no driver, or it does not tell."""
    number = _ask().cuda
    return (number // 1000, number % 1000 // 10) if number else None


def on_jetson() -> bool:
    from edgezoo.machine import on_jetson  # not at the top: whoever asks the driver has no edgezoo

    return on_jetson()


def cure(otherwise: str, *, on_cuda_12: str = "") -> str:
    """What to do where a package for GPUs is missing: what a desktop does, but for an older driver, or on a Jetson."""
    if on_jetson():
        return "`edgezoo doctor` tells what this Jetson's own system has for it"
    spoken = driver_cuda()
    return f"try: {on_cuda_12 if on_cuda_12 and spoken is not None and spoken < (13, 0) else otherwise}"


class Turns:
    """Some captures of a CUDA graph forbid every other thread of the process to allocate, copy or wait meanwhile.

    Whoever captures so does it `alone`; whoever else uses CUDA does it `together` with the rest. Not to be nested.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._users = 0
        self._claimed = False

    @contextmanager
    def together(self) -> Iterator[None]:
        with self._changed:
            while self._claimed:
                self._changed.wait()
            self._users += 1
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            while self._claimed:
                self._changed.wait()
            self._claimed = True
            while self._users:
                self._changed.wait()
        try:
            yield
        finally:
            with self._changed:
                self._claimed = False
                self._changed.notify_all()


CUDA = Turns()
"""Of this process; what it guards is the driver's, and there is one."""


def _ask() -> Driver:
    command = [sys.executable, "-I", "-S", __file__]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, check=False)
    except subprocess.TimeoutExpired:
        return Driver(trouble=f"the NVIDIA driver does not answer within {_ASK_S:.0f} s; try nvidia-smi, or reboot")
    except OSError as error:
        return Driver(trouble=f"the NVIDIA driver could not be asked: {error.strerror}")
    kind, _, rest = done.stdout.strip().partition(" ")
    if kind == "absent":
        return Driver(trouble=_absent(rest))
    if kind != "answers" or done.returncode:
        return Driver(trouble=f"the NVIDIA driver crashed when it was asked ({done.returncode}); reinstall it")
    code, gpus, cuda = map(int, rest.split())
    return Driver(code=code, gpus=gpus, cuda=cuda)


def _absent(reason: str) -> str:
    if reason and not re.search("No such file|Could not find", reason):
        return f"the NVIDIA driver's {LIBRARY} does not load: {reason[:200]}"
    if where := _in_container():
        return f"there is no NVIDIA driver ({LIBRARY}) in this container; {where}"
    cure = "it comes with JetPack" if on_jetson() else "get it from your system, or https://www.nvidia.com/drivers"
    return f"there is no NVIDIA driver ({LIBRARY}); {cure}"


def _are(gpus: int) -> str:
    return "is one" if gpus == 1 else f"are {gpus}"


def _in_container() -> str:
    """What starts a container with a GPU; empty outside of one."""
    inside = any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv"))) or "KUBERNETES_SERVICE_HOST" in os.environ
    return "start the container with --gpus all, on a Jetson with --runtime nvidia" if inside else ""


def _answers(library: Any) -> tuple[int, int, int]:
    """What its cuInit says, how many GPUs there are, and the newest CUDA."""
    gpus, cuda = ctypes.c_int(0), ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(cuda))  # the one call that may come before cuInit
    code = library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(gpus))
    return code, gpus.value, cuda.value


def _main() -> None:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        print("absent", " ".join(str(error).split()))
    else:
        print("answers", *_answers(library))


if __name__ == "__main__":
    _main()
