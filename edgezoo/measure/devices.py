"""Cameras and GPUs as the system tells of them; looked at, never started."""

from __future__ import annotations

import glob
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgezoo.measure.jetson import board_name

_SMI_S = 4.0

# linux/videodev2.h
_QUERYCAP = 0x80685600
_CAPABILITY = struct.Struct("16s32s32s3I12x")
_CAPTURES = 0x1 | 0x1000
_HAS_DEVICE_CAPS = 0x80000000


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """Something found, or why it cannot be used."""

    path: str = ""
    name: str = ""
    trouble: str = ""
    cure: str = ""


def cameras() -> Iterator[Device]:
    """The `/dev/video*` that give images; not those of codecs and metadata."""
    for path in sorted(glob.glob("/dev/video*"), key=lambda path: (len(path), path)):
        try:
            handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        except PermissionError:
            cure = "sudo usermod -aG video $USER, then log in again"
            yield Device(path=path, trouble="no permission to open it", cure=cure)
            continue
        except OSError as error:
            yield Device(path=path, trouble=f"cannot be opened: {error.strerror}", cure=f"fuser -v {path}")
            continue
        try:
            if name := _camera_name(handle):
                yield Device(path=path, name=name)
        finally:
            os.close(handle)


def _camera_name(handle: int) -> str:
    """What a device calls itself; empty where it gives no images."""
    if sys.platform != "linux":
        return ""
    import fcntl

    answer = bytearray(_CAPABILITY.size)
    try:
        fcntl.ioctl(handle, _QUERYCAP, answer)
    except OSError:
        return ""
    _, card, _, _, all_of_it, of_this_node = _CAPABILITY.unpack(answer)
    can = of_this_node if all_of_it & _HAS_DEVICE_CAPS else all_of_it
    return card.split(b"\0")[0].decode("utf-8", "replace") or "a camera" if can & _CAPTURES else ""


def nvidia() -> Device | None:
    """The NVIDIA GPUs of this machine and their driver, or what is wrong with them; None: there are none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        with suppress(OSError):
            line = Path("/proc/driver/nvidia/version").read_text().partition("\n")[0]
            return Device(name=" ".join(line.split())[:120])
        return None
    question = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        told = subprocess.run(question, capture_output=True, text=True, timeout=_SMI_S, check=False)
    except subprocess.TimeoutExpired:
        return Device(trouble=f"nvidia-smi does not answer within {_SMI_S:.0f} s")
    lines = [line.strip() for line in (told.stdout + told.stderr).splitlines() if line.strip()]
    if told.returncode != 0:
        return Device(trouble=f"nvidia-smi failed: {lines[0] if lines else told.returncode}")
    return Device(name="; ".join(lines)) if lines else None


def jetson() -> str:
    """The board and its JetPack's Linux release; empty elsewhere."""
    return board_name()
