"""The doctor on machines of NVIDIA's: Jetsons by their files, drivers and packages that do or do not go together."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgezoo.measure import devices, doctor, jetson, nvidia, packages
from edgezoo.measure.jetson import JETPACKS, VENV, Board, Interpreter

ORIN = "NVIDIA Jetson Orin Nano Developer Kit"
JETPACK_6 = {
    "nvidia-jetpack": "6.2+b77",
    "libnvinfer10": "10.3.0.30-1+cuda12.5",
    "python3-libnvinfer": "10.3.0.30-1+cuda12.5",
    "cuda-cudart-12-6": "12.6.68-1",
    "libcudnn9-cuda-12": "9.3.0.75-1",
    "nvidia-opencv": "6.2+b77",
    "bash": "5.1-6ubuntu1",
}


def system(
    root: Path,
    l4t: str = "36.4.3",
    installed: Mapping[str, str] = JETPACK_6,
    *,
    removed: Mapping[str, str] | None = None,
    bindings: tuple[str, ...] = ("3.10",),
    power: str = "2",
) -> Path:
    """The files of a Jetson that the doctor reads."""
    places = {
        "proc/device-tree/model": ORIN + "\0",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=MAXN >",
        "var/lib/nvpmodel/status": f"pmode:000{power}\n",
    }
    if l4t:
        release, _, revision = l4t.partition(".")
        places["etc/nv_tegra_release"] = (
            f"# R{release} (release), REVISION: {revision}, GCID: 38968081, BOARD: generic, EABI: aarch64\n# KERNEL\n"
        )
    records = [(name, version, "install ok installed") for name, version in installed.items()]
    records += [(name, version, "deinstall ok config-files") for name, version in (removed or {}).items()]
    places["var/lib/dpkg/status"] = "\n".join(
        f"Package: {name}\nStatus: {state}\nMaintainer: x\nVersion: {version}\nDescription: y\n Version: 0\n"
        for name, version, state in records
    )
    for place, text in places.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)
    for python in bindings:
        (root / f"usr/lib/python{python}/dist-packages/tensorrt").mkdir(parents=True)
    return root


def board_of(root: Path, *details: Any, **more: Any) -> Board:
    found = jetson.board(system(root, *details, **more))
    assert found is not None
    return found


# What a board is.


def test_a_board(tmp_path: Path) -> None:
    found = board_of(tmp_path)
    assert str(found) == jetson.board_name(tmp_path) == f"{ORIN}, L4T 36.4.3"
    assert (found.name, found.python, found.cuda, found.tensorrt) == ("JetPack 6.2", "3.10", 12, "10.3.0.30")
    assert not found.too_old
    assert set(found.packages) == set(JETPACK_6) - {"bash"}
    by_name = {row.name: row for row in jetson.rows(found)}
    assert by_name["JetPack"].what == "6.2: Ubuntu 22.04, Python 3.10, CUDA 12.6, cuDNN 9.3, TensorRT 10.3"
    assert (
        by_name["installed"].what == "TensorRT 10.3.0.30, its Python bindings 10.3.0.30, CUDA 12.6.68, cuDNN 9.3.0.75"
    )
    assert by_name["power"].what.startswith("MAXN (mode 2): speeds vary")
    assert {row.state for row in by_name.values()} == {"ok"}


@pytest.mark.parametrize("release", JETPACKS, ids=str)
def test_every_release_of_the_table(tmp_path: Path, release: jetson.JetPack) -> None:
    """By its L4T alone, with nothing installed."""
    found = board_of(tmp_path, release.l4t, {}, bindings=())
    assert found.jetpack == release
    assert found.name == f"JetPack {release.name}"
    assert found.python == release.python
    assert found.cuda == int(release.cuda.partition(".")[0])
    assert found.too_old == release.name.startswith("5")
    by_name = {row.name: row for row in jetson.rows(found)}
    assert by_name["JetPack"].state == ("broken" if found.too_old else "ok")
    assert by_name["JetPack"].cure == ("flash JetPack 6 or newer" if found.too_old else "")
    assert (by_name["installed"].state, by_name["installed"].cure) == ("missing", "sudo apt install nvidia-jetpack")


def test_a_revision_of_two_numbers() -> None:
    assert Board(model=ORIN, l4t="36.3").jetpack == Board(model=ORIN, l4t="36.3.0").jetpack
    assert Board(model=ORIN, l4t="36.3").name == "JetPack 6.0"


@pytest.mark.parametrize(
    ("l4t", "package", "name", "python", "cuda", "says"),
    [
        ("36.4.7", "", "JetPack", "3.10", 12, "JetPack: L4T 36.4.7 is not in this edgezoo's table"),
        ("39.2.2", "7.2.2-b12", "JetPack 7.2.2", "3.12", 13, "JetPack 7.2.2: L4T 39.2.2 is not in"),
        ("41.0", "9.0", "JetPack 9.0", "", None, "JetPack 9.0: L4T 41.0 is not in"),
        ("36.4.3", "6.2.1+b38", "JetPack 6.2.1", "3.10", 12, "6.2.1 on the L4T of 6.2: Ubuntu 22.04"),
    ],
)
def test_releases_that_are_not_guessed(
    tmp_path: Path, l4t: str, package: str, name: str, python: str, cuda: int | None, says: str
) -> None:
    installed = {"nvidia-jetpack": package} if package else {}
    found = board_of(tmp_path, l4t, installed, bindings=())
    assert (found.name, found.python, found.cuda) == (name, python, cuda)
    row = next(row for row in jetson.rows(found) if row.name == "JetPack")
    assert (row.state, row.what[: len(says)]) == ("ok", says)


def test_what_is_installed_counts_more_than_the_table(tmp_path: Path) -> None:
    installed = {"cuda-cudart-12-6": "12.6.1-1", "cuda-cudart-13-2": "13.2.0-1", "libnvinfer10": "10.16.2.1-1+cuda13.2",
                 "libnvinfer8": "8.6.2.3-1+cuda12.2"}  # fmt: skip
    found = board_of(
        tmp_path, "36.3.0", installed, bindings=("3", "3.9", "3.11"), removed={"python3-libnvinfer": "8.6"}
    )
    assert (found.cuda, found.tensorrt, found.python) == (13, "10.16.2.1", "3.11")
    assert "python3-libnvinfer" not in found.packages


def test_a_container_on_a_board(tmp_path: Path) -> None:
    found = board_of(tmp_path, "", {"nvidia-l4t-core": "36.4.3-20250107174145"}, bindings=())
    assert found.l4t == "36.4.3"
    found = board_of(tmp_path / "bare", "", {}, bindings=())
    assert (found.l4t, found.name, found.cuda, found.too_old) == ("", "JetPack", None, False)
    assert [row.name for row in jetson.rows(found)] == ["Jetson", "JetPack", "installed", "power"]


def test_what_is_no_jetson(tmp_path: Path) -> None:
    assert jetson.board(tmp_path) is None
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text("Raspberry Pi 5 Model B\0")
    assert jetson.board(tmp_path) is None
    assert jetson.board_name(tmp_path) == ""


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "etc/nv_tegra_release").mkdir(parents=True)
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"\xff\xfe Jetson \0")
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_bytes(
        b"Package: libnvinfer10\nStatus: \xff installed\nVersion: \xff\n\n:\n"
    )
    found = jetson.board(tmp_path)
    assert found is not None
    assert list(jetson.rows(found))


@pytest.mark.parametrize(
    ("status", "conf", "told"),
    [
        ("pmode:0000", "< POWER_MODEL ID=0 NAME=15W >", "15W (mode 0)"),
        ("pmode:0012", "< POWER_MODEL ID=1 NAME=15W >", "mode 12"),
        ("nothing", "", ""),
    ],
)
def test_power_modes(tmp_path: Path, status: str, conf: str, told: str) -> None:
    root = system(tmp_path)
    (root / "var/lib/nvpmodel/status").write_text(status)
    (root / "etc/nvpmodel.conf").write_text(conf)
    found = jetson.board(root)
    assert found is not None
    assert found.power == told


# TensorRT and cuda-python on a board.


@pytest.mark.parametrize(
    ("l4t", "without", "bindings", "python", "state", "what", "cure"),
    [
        ("36.4.3", (), ("3.10",), Interpreter("3.10", False), "missing", "does not see", VENV),
        ("36.4.3", (), ("3.10",), Interpreter("3.12", False), "missing", "for Python 3.10; this is 3.12", VENV),
        ("36.4.3", (), ("3.10",), Interpreter("3.12", True), "missing", "for Python 3.10; this is 3.12", VENV),
        ("36.4.3", ("python3-libnvinfer",), (), Interpreter("3.10", True), "missing", "not its Python bindings",
         "sudo apt install python3-libnvinfer"),
        ("36.4.3", ("python3-libnvinfer",), (), Interpreter("3.10", False), "missing", "not its Python bindings",
         "sudo apt install python3-libnvinfer"),
        ("36.4.3", ("libnvinfer10",), (), Interpreter("3.10", True), "missing", "JetPack 6.2 is here without it",
         "sudo apt install nvidia-jetpack"),
        ("36.4.3", (), ("3.10",), Interpreter("3.10", True), "broken", "does not find them",
         "sudo apt install --reinstall python3-libnvinfer"),
        ("35.4.1", (), ("3.8",), Interpreter("3.8", True), "broken", "is too old", "flash JetPack 6 or newer"),
    ],
)  # fmt: skip
def test_why_tensorrt_is_not_found(
    tmp_path: Path,
    l4t: str,
    without: tuple[str, ...],
    bindings: tuple[str, ...],
    python: Interpreter,
    state: str,
    what: str,
    cure: str,
) -> None:
    installed = {name: version for name, version in JETPACK_6.items() if name not in without}
    row = nvidia.on_jetson(board_of(tmp_path, l4t, installed, bindings=bindings), python)
    assert (row.state, row.cure) == (state, cure)
    assert what in row.what


def test_the_environment_that_runs() -> None:
    import sys

    found = jetson.interpreter()
    assert found.version == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert found.sees_system == any("/usr/lib/python3" in place and "dist-packages" in place for place in sys.path)


@pytest.mark.parametrize(
    ("places", "sees"),
    [
        (["/home/me/.venv/lib/python3.10/site-packages"], False),
        (["/usr/lib/python3/dist-packages"], True),
        (["/usr/lib/python3.10/dist-packages", ""], True),
        (["/usr/local/lib/python3.10/dist-packages"], False),  # pip's, as root
    ],
)
def test_whether_it_sees_the_system(monkeypatch: pytest.MonkeyPatch, places: list[str], sees: bool) -> None:
    monkeypatch.setattr(jetson.sys, "path", places)
    assert jetson.interpreter().sees_system == sees


@pytest.mark.parametrize(
    ("l4t", "version", "state", "cure"),
    [
        ("36.4.3", "", "missing", 'pip install "edgezoo[jetson]" "cuda-python==12.*"'),
        ("36.4.3", "12.9.4", "ok", ""),
        ("36.4.3", "13.0.2", "broken", 'pip install "cuda-python==12.*"'),
        ("39.2.1", "", "missing", 'pip install "edgezoo[jetson]" "cuda-python==13.*"'),
        ("39.2.1", "12.9.4", "broken", 'pip install "cuda-python==13.*"'),
        ("41.0", "", "missing", 'pip install "edgezoo[jetson]"'),
        ("41.0", "12.9", "ok", ""),
    ],
)
def test_cuda_python_on_a_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, l4t: str, version: str, state: str, cure: str
) -> None:
    monkeypatch.setattr(nvidia, "_version", lambda name: version if name == "cuda-bindings" else "")
    (row,) = nvidia.cuda_python(board_of(tmp_path, l4t, {}, bindings=()))
    assert (row.state, row.cure) == (state, cure)


def installed_at(place: str) -> Any:
    return lambda name, *more: SimpleNamespace(origin=place) if name == "tensorrt" else None


@pytest.mark.parametrize(
    ("place", "l4t", "trouble", "told", "state", "what", "cure"),
    [
        ("/usr/lib/python3.10/dist-packages/tensorrt/__init__.py", "36.4.3", "", "10.3.0\n", "ok", "10.3.0", ""),
        ("/me/.venv/lib/python3.10/site-packages/tensorrt/__init__.py", "36.4.3", "", "10.13.0", "broken", "is pip's",
         "pip uninstall -y tensorrt"),
        ("/me/.venv/lib/python3.12/site-packages/tensorrt/__init__.py", "39.2.1", "", "11.4.1", "ok", "11.4.1", ""),
        ("/usr/lib/python3.10/dist-packages/tensorrt/__init__.py", "36.4.3", "libnvinfer.so.10: cannot open", "",
         "broken", "libnvinfer.so.10", "sudo apt install --reinstall nvidia-jetpack python3-libnvinfer"),
        ("/usr/lib/python3.8/dist-packages/tensorrt/__init__.py", "35.4.1", "", "8.5.2", "broken", "too old",
         "flash JetPack 6 or newer"),
        ("/x/site-packages/tensorrt/__init__.py", "", "", "11.4.0.106", "ok", "11.4.0.106", ""),
        ("/x/site-packages/tensorrt/__init__.py", "", "", "8.5.3.1", "broken", "speaks 8.6", "edgezoo[tensorrt]"),
        ("/x/site-packages/tensorrt/__init__.py", "", "AssertionError: its libraries are not installed", "", "broken",
         "its libraries", "pip install --force-reinstall tensorrt"),
    ],
)  # fmt: skip
def test_a_tensorrt_that_python_finds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    l4t: str,
    trouble: str,
    told: str,
    state: str,
    what: str,
    cure: str,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", installed_at(place))
    monkeypatch.setattr(nvidia, "tried", lambda code, *more: (trouble, told))
    (row,) = nvidia.tensorrt(board_of(tmp_path, l4t, JETPACK_6 if l4t[:2] == "36" else {}) if l4t else None)
    assert row.state == state
    assert what in row.what
    assert cure in row.cure
    assert bool(row.cure) == bool(cure)


# The whole of it.

FORBIDDEN = re.compile(r"pip install[^;]*(opencv|tensorrt|onnxruntime-gpu|edgezoo\[(cpu|gpu|openvino|tensorrt)\])")


@pytest.mark.parametrize("bare", [True, False], ids=["without packages", "with those of this machine"])
def test_a_doctor_on_a_board_never_sends_to_the_index_for_what_is_jetpacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare: bool
) -> None:
    if bare:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(nvidia.devices, "nvidia", lambda: devices.Device(name="Orin (nvgpu), 540.4.0"))
    found = doctor.doctor(root=system(tmp_path))
    by_name = {row.name: row for row in found}
    for row in found:
        assert not FORBIDDEN.search(row.cure.replace("pip uninstall", "")), row
    assert by_name["Jetson"].section == by_name["JetPack"].section == "machine"
    assert by_name["tensorrt"].state == "missing"
    if bare:
        assert by_name["OpenCV"].cure.startswith(VENV)
        assert by_name["onnxruntime"].cure.startswith("NVIDIA's Jetson build of onnxruntime-gpu for JetPack 6.2")
        assert by_name["cuda-python"].cure == 'pip install "edgezoo[jetson]" "cuda-python==12.*"'


def test_opencv_where_jetpacks_is_not_installed() -> None:
    assert jetson.opencv_cure(Board(model=ORIN, l4t="36.4.3")).endswith("sudo apt install nvidia-opencv")


# Desktops.

OLD = "the NVIDIA driver runs CUDA 12.4 at most, but CUDA 13 is needed; install driver 580 or newer"
FOR_12 = 'pip install tensorrt-cu12 "cuda-python==12.*"'


@pytest.mark.parametrize(
    ("takes", "missing", "wants", "there", "state", "what", "cure"),
    [
        ((13, 1), "", {"TensorRT": 13}, True, "ok", "runs CUDA 13.1 and older", ""),
        ((12, 4), "", {}, True, "ok", "runs CUDA 12.4 and older", ""),
        (None, "", {}, True, "ok", "starts", ""),
        ((12, 4), OLD, {"TensorRT": 13, "cuda-python": 13}, True, "broken",
         "too old for TensorRT and cuda-python: the NVIDIA driver runs CUDA 12.4 at most, but CUDA 13 is needed",
         f"install driver 580 or newer, or packages for CUDA 12: {FOR_12}"),
        ((12, 4), OLD, {"TensorRT": 12, "onnxruntime": 13}, True, "broken", "too old for onnxruntime: the", FOR_12),
        ((11, 8), "it runs CUDA 11.8; install driver 525 or newer", {"cuda-python": 12}, True, "broken",
         "too old for cuda-python: it runs CUDA 11.8", "install driver 525 or newer"),
        (None, "there is no driver; get it", {"cuda-python": 12}, False, "missing", "there is no driver", "get it"),
        (None, "there is no driver; get it", {}, True, "broken", "there is no driver", "get it"),
        ((13, 0), "it sees no GPU; try: nvidia-smi", {"TensorRT": 13}, True, "broken", "it sees no GPU", "nvidia-smi"),
    ],
)  # fmt: skip
def test_drivers(
    monkeypatch: pytest.MonkeyPatch,
    takes: tuple[int, int] | None,
    missing: str,
    wants: dict[str, int],
    there: bool,
    state: str,
    what: str,
    cure: str,
) -> None:
    asked = []
    monkeypatch.setattr(nvidia._nvidia, "missing", lambda cuda=None: asked.append(cuda) or missing)
    monkeypatch.setattr(nvidia._nvidia, "driver_cuda", lambda: takes)
    row = nvidia.driver(wants, there=there)
    assert (row.state, row.what[: len(what)]) == (state, what)
    assert row.cure.endswith(cure)
    assert bool(row.cure) == bool(cure)
    assert asked == [max(wants.values(), default=None)]


def test_the_driver_of_this_machine_is_really_asked() -> None:
    row = {row.name: row for row in nvidia.gpu(None)}["driver"]
    assert row.state != "ok" or "CUDA" in row.what or row.what == "starts"
    assert bool(row.cure) == (row.state != "ok")


@pytest.mark.parametrize(
    ("installed", "onnxruntime", "wants"),
    [
        ({}, None, {}),
        ({"tensorrt-cu13-libs": "11.4", "cuda-bindings": "13.0.1"}, None, {"TensorRT": 13, "cuda-python": 13}),
        (
            {"tensorrt-cu12": "10.3", "cuda-python": "12.6"},
            13,
            {"TensorRT": 12, "cuda-python": 12, "onnxruntime": 13},
        ),
    ],
)
def test_what_asks_for_a_cuda(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], onnxruntime: int | None, wants: dict[str, int]
) -> None:
    monkeypatch.setattr(nvidia, "_version", lambda name: installed.get(name, ""))
    runtime: Any = SimpleNamespace()
    monkeypatch.setattr(packages, "load", lambda name, **more: packages.Package("ok", "1", module=runtime))
    monkeypatch.setattr(nvidia.libraries, "cuda_of", lambda module: onnxruntime if module is runtime else None)
    assert nvidia.wanted() == wants


@pytest.mark.parametrize(
    ("takes", "cure"),
    [((13, 0), 'pip install "edgezoo[tensorrt]"'), ((12, 8), FOR_12), (None, 'pip install "edgezoo[tensorrt]"')],
)
def test_what_to_install_goes_by_the_driver(
    monkeypatch: pytest.MonkeyPatch, takes: tuple[int, int] | None, cure: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(nvidia, "_version", lambda name: "")
    monkeypatch.setattr(nvidia._nvidia, "driver_cuda", lambda: takes)
    monkeypatch.setattr(nvidia.devices, "nvidia", lambda: devices.Device(name="A GPU"))
    rows = [*nvidia.tensorrt(None), *nvidia.cuda_python(None)]
    assert [(row.name, row.state, row.cure) for row in rows] == [
        ("tensorrt", "missing", cure),
        ("cuda-python", "missing", cure),
    ]


def test_what_a_backend_says_is_parted_from_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    told = 'the CUDA provider does not find libcudnn.so.9; try: pip install "nvidia-cudnn-cu13==9.*"'
    runtime: Any = SimpleNamespace(get_available_providers=lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(packages, "load", lambda name, **more: packages.Package("ok", "1", module=runtime))
    monkeypatch.setattr(nvidia, "tried", lambda code, *more: (told, ""))
    (row,) = nvidia.cuda(None)
    assert (row.state, row.what) == ("broken", "the CUDA provider does not find libcudnn.so.9")
    assert row.cure == 'pip install "nvidia-cudnn-cu13==9.*"'
