"""The machine that a figure was measured on; a speed without it says nothing."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

# What inference runtimes choose their kernels by.
INSTRUCTION_SETS = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip


_M_ARENA_MAX = -8  # malloc.h


def machine() -> dict[str, Any]:
    """CPU, cores that this process may use, and system, as figures are published with them."""
    return {"cpu": cpu_model(), "cores": cores(), "system": f"{platform.system()} {platform.machine()}"}


def cpu_model() -> str:
    """The processor, or the board, by name; never raises."""
    board = _text("/proc/device-tree/model").strip("\0 \n")
    named = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
    return board or (named[1].strip() if named else "") or platform.processor() or platform.machine() or "unknown"


def on_jetson() -> bool:
    """Whether this is an NVIDIA Jetson, whose OpenCV, CUDA and TensorRT are its system's own."""
    return Path("/etc/nv_tegra_release").exists()


def l4t(told: str) -> str:
    """A Jetson's release of Linux, `36.4.3`, from the text of its `/etc/nv_tegra_release`; empty where it is none."""
    found = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", told.partition("\n")[0])
    return f"{found[1]}.{found[2]}" if found else ""


def cores() -> int:
    """Cores that this process may run on."""
    with suppress(AttributeError, OSError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_heaps() -> None:
    """Let all threads allocate from two heaps, for as long as this process lives; where glibc has the memory.

    It gives each thread a heap of its own, and frames go from one thread to another: every heap keeps what it had at
    its worst moment, and a pipeline grows for hours.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def give_back() -> None:
    """Let the system have what this process has freed: some milliseconds; where glibc has the memory."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def cpu_quota() -> float | None:
    """The cores' worth of time that a container may use; None where there is no limit, or none is told."""
    limit, _, period = _text("/sys/fs/cgroup/cpu.max").strip().partition(" ")
    if not period:  # version 1
        limit = _text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").strip()
        period = _text("/sys/fs/cgroup/cpu/cpu.cfs_period_us").strip()
    return int(limit) / int(period) if limit.isdecimal() and period.isdecimal() and int(period) else None


def instruction_sets() -> list[str]:
    """Those of INSTRUCTION_SETS that the CPU states; empty where the system does not tell."""
    stated = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
    there = set(stated[1].split()) if stated else set()
    return [name for name in INSTRUCTION_SETS if name in there]


class OtherLoad:
    """What other processes took of the machine meanwhile: a figure measured beside them says less."""

    def __init__(self) -> None:
        self._before = self._now()

    def share(self) -> float | None:
        """0..1 of all cores since the last call, to some hundredths of a second; None where it is not told."""
        (busy, own, at), (busy_now, own_now, now) = self._before, self._now()
        self._before = (busy_now, own_now, now)
        if busy is None or busy_now is None or now <= at:
            return None
        others_s = max(0.0, (busy_now - busy) - (own_now - own))
        return min(1.0, others_s / (now - at) / (os.cpu_count() or 1))

    @staticmethod
    def _now() -> tuple[float | None, float, float]:
        """CPU seconds of all, of this process, and the time."""
        line = _text("/proc/stat").partition("\n")[0].split()
        times = os.times()
        user, nice, system, _, _, irq, softirq, steal = map(int, line[1:9]) if len(line) > 8 else (-1,) * 8
        busy = None if user < 0 else (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return busy, times.user + times.system, time.monotonic()


def _text(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text("utf-8", errors="replace")
    return ""
