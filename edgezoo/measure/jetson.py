"""A Jetson as its own files tell of it: which JetPack, what of it is installed, and what that goes with.

OpenCV, TensorRT and onnxruntime are JetPack's own there; what pip has under these names does not know the board.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edgezoo.machine import l4t
from edgezoo.measure.findings import Row

ROOT = Path("/")
VENV = "/usr/bin/python3 -m venv --system-site-packages .venv"
"""Makes an environment that sees JetPack's Python packages."""


@dataclass(frozen=True, slots=True)
class JetPack:
    """What NVIDIA's release notes list for one."""

    name: str
    l4t: str
    ubuntu: str
    python: str
    cuda: str
    cudnn: str
    tensorrt: str

    def __str__(self) -> str:
        return (
            f"{self.name}: Ubuntu {self.ubuntu}, Python {self.python}, CUDA {self.cuda}, cuDNN {self.cudnn}, "
            f"TensorRT {self.tensorrt}"
        )


# https://developer.nvidia.com/embedded/jetpack-archive and the notes of each release there; 7.x also
# https://developer.nvidia.com/embedded/jetpack/downloads and the packages' own versions.
JETPACKS = (
    JetPack("5.1", "35.2.1", "20.04", "3.8", "11.4", "8.6", "8.5"),
    JetPack("5.1.1", "35.3.1", "20.04", "3.8", "11.4", "8.6", "8.5"),
    JetPack("5.1.2", "35.4.1", "20.04", "3.8", "11.4", "8.6", "8.5"),
    JetPack("5.1.3", "35.5.0", "20.04", "3.8", "11.4", "8.6", "8.5"),
    JetPack("5.1.4", "35.6.0", "20.04", "3.8", "11.4", "8.6", "8.5"),
    JetPack("5.1.5", "35.6.1", "20.04", "3.8", "11.4", "8.6", "8.5"),
    JetPack("6.0", "36.3.0", "22.04", "3.10", "12.2", "8.9", "8.6"),
    JetPack("6.1", "36.4.0", "22.04", "3.10", "12.6", "9.3", "10.3"),
    JetPack("6.2", "36.4.3", "22.04", "3.10", "12.6", "9.3", "10.3"),
    JetPack("6.2.1", "36.4.4", "22.04", "3.10", "12.6", "9.3", "10.3"),
    JetPack("6.2.2", "36.5.0", "22.04", "3.10", "12.6", "9.3", "10.3"),
    JetPack("6.2.3", "36.5.2", "22.04", "3.10", "12.6", "9.3", "10.3"),
    JetPack("7.0", "38.2.0", "24.04", "3.12", "13.0", "9.12", "10.13"),
    JetPack("7.0", "38.2.1", "24.04", "3.12", "13.0", "9.12", "10.13"),
    JetPack("7.1", "38.4.0", "24.04", "3.12", "13.0", "9.12", "10.13"),
    JetPack("7.2", "39.2.0", "24.04", "3.12", "13.2", "9.20", "10.16"),
    JetPack("7.2.1", "39.2.1", "24.04", "3.12", "13.2", "9.20", "10.16"),
)
_TOO_OLD = 36  # L4T before it: TensorRT 8.5 and Python 3.8 at most
# All releases of one L4T have the same Python, and CUDA of the same major version.
_PYTHON_OF = {"35": "3.8", "36": "3.10", "38": "3.12", "39": "3.12"}
_CUDA_OF = {"35": 11, "36": 12, "38": 13, "39": 13}
_RECORDS = re.compile(
    r"nvidia-(jetpack|opencv|l4t-core)|(python3-)?libnvinfer(\d+|-bin)?|cuda-cudart-\d+-\d+|libcudnn\d+(-cuda-\d+)?"
)


_PARTS = (
    ("TensorRT", r"libnvinfer\d+"),
    ("its Python bindings", "python3-libnvinfer"),
    ("CUDA", r"cuda-cudart-\d+-\d+"),
    ("cuDNN", r"libcudnn\d+(-cuda-\d+)?"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """What the files of a Jetson tell."""

    model: str
    l4t: str
    """`36.4.3`; empty where nothing tells."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Those of JetPack that matter here and are installed, with their versions."""
    bindings: tuple[str, ...] = ()
    """The Pythons that TensorRT's bindings are there for."""
    power: str = ""
    """The power mode, where it is told."""

    def __str__(self) -> str:
        return f"{self.model}, {f'L4T {self.l4t}' if self.l4t else ''}".strip(", ")

    @property
    def jetpack(self) -> JetPack | None:
        """The release that this L4T belongs to; None for one that is not in the table."""
        padded = (self.l4t + ".0.0").split(".")[:3]
        return next((each for each in JETPACKS if each.l4t.split(".") == padded), None)

    @property
    def name(self) -> str:
        """`JetPack 6.2`, or just `JetPack` where neither its package nor the table tells which."""
        told = re.match(r"[\d.]+", self.packages.get("nvidia-jetpack", ""))
        known = self.jetpack
        return f"JetPack {told[0].strip('.') if told else known.name if known else ''}".strip()

    @property
    def too_old(self) -> bool:
        return self._branch.isdecimal() and int(self._branch) < _TOO_OLD

    @property
    def python(self) -> str:
        """The Python that TensorRT's bindings are for; empty where nothing tells."""
        return self.bindings[0] if self.bindings else _PYTHON_OF.get(self._branch, "")

    @property
    def cuda(self) -> int | None:
        """CUDA's major version."""
        told = [int(name.split("-")[2]) for name in self.packages if name.startswith("cuda-cudart-")]
        return max(told) if told else _CUDA_OF.get(self._branch)

    @property
    def tensorrt(self) -> str:
        """The version of its libraries; empty where these are not installed."""
        return self.installed(r"libnvinfer\d+")

    def installed(self, package: str) -> str:
        """The newest version of the packages of that pattern; empty where none is installed."""
        found = [version.partition("-")[0] for name, version in self.packages.items() if re.fullmatch(package, name)]
        return max(found, key=lambda version: [int(part) for part in re.findall(r"\d+", version)], default="")

    @property
    def _branch(self) -> str:
        return self.l4t.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The running Python."""

    version: str
    """`3.10`"""
    sees_system: bool
    """Whether it finds the packages that apt installs."""


def interpreter() -> Interpreter:
    there = any(re.search(r"^/usr/lib/python3[\d.]*/dist-packages$", place) for place in sys.path)
    return Interpreter(f"{sys.version_info[0]}.{sys.version_info[1]}", there)


def board(root: Path = ROOT) -> Board | None:
    """The Jetson whose files lie under `root`; None where it is none. Never raises."""
    model, l4t, there = _release(root)
    if not there:
        return None
    packages = _installed(root / "var/lib/dpkg/status")
    core = re.match(r"\d+(\.\d+)+", packages.get("nvidia-l4t-core", ""))
    bindings = (root / "usr/lib").glob("python3*/dist-packages/tensorrt")
    pythons = {place.parts[-3].removeprefix("python") for place in bindings} - {"3"}
    return Board(
        model=model,
        l4t=l4t or (core[0] if core else ""),
        packages=packages,
        bindings=tuple(sorted(pythons, key=lambda version: [int(part) for part in version.split(".")], reverse=True)),
        power=_power(root),
    )


def board_name(root: Path = ROOT) -> str:
    """The board and its JetPack's Linux release; empty where it is none."""
    model, l4t, there = _release(root)
    return str(Board(model=model, l4t=l4t)) if there else ""


def _release(root: Path) -> tuple[str, str, bool]:
    """The model, the L4T, and whether this is a Jetson at all."""
    told = _text(root / "etc/nv_tegra_release").partition("\n")[0]
    model = _text(root / "proc/device-tree/model").strip("\0 \n")
    return model, l4t(told), bool(told) or "jetson" in model.lower()


def _installed(records: Path) -> dict[str, str]:
    """Of Debian's package records, those that matter."""
    found: dict[str, str] = {}
    name, there = "", False
    for line in _text(records).splitlines():
        if line.startswith("Package: "):
            name, there = line[9:].strip(), False
        elif line.startswith("Status: "):
            there = line.endswith(" installed")
        elif there and line.startswith("Version: ") and _RECORDS.fullmatch(name):
            found[name] = line[9:].strip()
    return found


def _power(root: Path) -> str:
    """The mode that nvpmodel keeps, which is read without root: `15W`."""
    mode = re.search(r"pmode:0*(\d+)", _text(root / "var/lib/nvpmodel/status"))
    if mode is None:
        return ""
    listed = _text(root / "etc/nvpmodel.conf")
    name = re.search(rf"^<\s*POWER_MODEL\s+ID={mode[1]}\s+NAME=(\S+)", listed, re.MULTILINE)
    return f"{name[1]} (mode {mode[1]})" if name else f"mode {mode[1]}"


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text("utf-8", errors="replace")
    return ""


def opencv_cure(there: Board) -> str:
    if "nvidia-opencv" in there.packages:
        return f"{VENV}, without pip's opencv-python in it: JetPack's OpenCV is installed"
    return "pip uninstall -y opencv-python; sudo apt install nvidia-opencv"


def rows(there: Board) -> Iterator[Row]:
    """The board, its JetPack, and its power mode."""
    yield Row("machine", "Jetson", "ok", str(there))
    known = there.jetpack
    if there.too_old:
        what = "" if known is None else f" ({known})"
        why = f"{there.name}{what} is too old: edgezoo needs TensorRT 8.6 and Python 3.10, which JetPack 6.0 has"
        yield Row("machine", "JetPack", "broken", why, "flash JetPack 6 or newer")
    elif known is None:
        why = f"{there.name}: L4T {there.l4t or '?'} is not in this edgezoo's table, what is installed counts"
        yield Row("machine", "JetPack", "ok", why)
    else:
        told = there.name.removeprefix("JetPack ")
        yield Row("machine", "JetPack", "ok", str(known) if told == known.name else f"{told} on the L4T of {known}")
    parts = {name: there.installed(pattern) for name, pattern in _PARTS}
    what = ", ".join(f"{name} {version or 'is not'}" for name, version in parts.items())
    if all(parts.values()):
        yield Row("machine", "installed", "ok", what)
    else:
        yield Row("machine", "installed", "missing", what, "sudo apt install nvidia-jetpack")
    mode = there.power or "mode not told"
    steady = "speeds vary with it; sudo nvpmodel -q lists modes, -m N sets one, sudo jetson_clocks holds the clocks"
    yield Row("machine", "power", "ok", f"{mode}: {steady}")
