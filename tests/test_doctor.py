"""The doctor: it looks at machines that are whole, bare or broken, and never becomes one of its own patients."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgezoo.backends.tensorrt import engines
from edgezoo.measure import devices, doctor, findings, nvidia, packages
from edgezoo.measure.findings import Row

SECTIONS = ["software", "images", "cameras", "runtimes", "tools", "machine", "speeds", "files"]


def rows(check: Callable[[], Any]) -> dict[str, Row]:
    return {row.name: row for row in check()}


def test_a_whole_machine() -> None:
    found = doctor.doctor()
    sections = [row.section for row in found]
    assert sections == sorted(sections, key=SECTIONS.index)
    by_name = {row.name: row for row in found}
    assert len(by_name) == len(found)
    for name in ("Python", "edgezoo", "numpy", "onnx", "OpenCV", "onnxruntime", "cache", "CPU"):
        assert by_name[name].state == "ok", by_name[name]
    for row in found:
        assert row.state in ("ok", "missing", "broken")
        assert row.what
        assert "\n" not in row.what + row.cure
        assert row.state != "broken" or row.cure
    assert json.loads(json.dumps([row.to_dict() for row in found]))[0]["name"] == "Python"


@pytest.mark.parametrize(("kept", "told"), [((0, 0), []), ((2, 3 << 20), ["2 compiled, 3.0 MiB: edgezoo cache list"])])
def test_compiled_engines(monkeypatch: pytest.MonkeyPatch, kept: tuple[int, int], told: list[str]) -> None:
    monkeypatch.setattr(engines, "told", lambda: kept)
    assert [row.what for row in doctor._engines()] == told


def test_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys\nfrom edgezoo.measure.doctor import doctor\ndoctor()\n"
        "assert not {'torch', 'openvino', 'tensorrt', 'pycocotools'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""


def test_a_check_that_fails_has_a_row() -> None:
    def fail() -> Any:
        yield Row("x", "first", "ok", "seen")
        raise RuntimeError("the ground\nopens")

    first, second = doctor._safely("x", "second", fail)
    assert first.name == "first"
    assert (second.state, second.name) == ("broken", "second")
    assert second.what.endswith("RuntimeError: the ground opens")


def test_a_machine_without_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every library and every tool of the system gone: rows and cures, no errors."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(devices.shutil, "which", lambda name: None)
    monkeypatch.setattr(devices.glob, "glob", lambda pattern: [])
    monkeypatch.setenv("PATH", str(tmp_path))
    by_name = {row.name: row for row in doctor.doctor()}
    for name in ("numpy", "onnx", "OpenCV", "onnxruntime", "torch", "pycocotools"):
        assert by_name[name].state == "missing"
        assert by_name[name].cure.startswith("pip install")
    assert not [row for row in by_name.values() if row.state == "broken"]


def test_libraries_that_do_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def load(name: str, *more: Any) -> Any:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
        if name in ("onnxruntime", "onnx"):
            raise OSError("an illegal\ninstruction, nearly")
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", load)
    by_name = {row.name: row for row in doctor.doctor()}
    assert (by_name["OpenCV"].state, by_name["OpenCV"].cure) == ("broken", "apt install libgl1 libglib2.0-0")
    assert (by_name["onnxruntime"].state, by_name["onnx"].state) == ("broken", "broken")
    assert not by_name.keys() & {"FFmpeg", "windows", "providers", "CUDA"}


@pytest.mark.parametrize(
    ("installed", "state"),
    [
        (["opencv-python"], "ok"),
        (["opencv-contrib-python-headless"], "ok"),
        (["OpenCV-Python", "opencv-python-headless"], "broken"),
        (["opencv-python", "opencv-stubs"], "ok"),
        ([], "ok"),
    ],
)
def test_packages_that_overwrite_each_other(monkeypatch: pytest.MonkeyPatch, installed: list[str], state: str) -> None:
    them = [SimpleNamespace(metadata={"Name": name}) for name in [*installed, "numpy"]]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: them)
    found = packages.load("cv2", brought_by="opencv")
    assert found.state == state
    assert found.module is not None
    assert found.cure.startswith("pip uninstall -y") == (state == "broken")


@pytest.mark.parametrize(
    ("outcome", "state", "what"),
    [
        (SimpleNamespace(returncode=0, stdout="", stderr=""), "ok", "ran one operator"),
        (
            SimpleNamespace(returncode=1, stdout="", stderr="noise\nlibcudnn.so.9 is missing\n"),
            "broken",
            "libcudnn.so.9 is missing",
        ),
        (SimpleNamespace(returncode=-11, stdout="", stderr=""), "broken", "the process ended with -11"),
        (subprocess.TimeoutExpired("python", 8), "broken", "did not answer within"),
    ],
    ids=["runs", "library missing", "crashes", "hangs"],
)
def test_cuda_is_tried(monkeypatch: pytest.MonkeyPatch, outcome: Any, state: str, what: str) -> None:
    monkeypatch.setattr(
        packages, "load", lambda name, **more: packages.Package("ok", "1", module=runtime("CUDA", "CPU"))
    )

    def run(*command: Any, **options: Any) -> Any:
        assert options["timeout"] < 10
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(findings.subprocess, "run", run)
    row = rows(lambda: nvidia.cuda(None))["CUDA"]
    assert row.state == state
    assert what in row.what
    assert bool(row.cure) == (state == "broken")


def test_cuda_is_really_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here without a GPU the attempt must fail with the backend's own words, or succeed where there is one."""
    monkeypatch.setattr(packages, "load", lambda name, **more: packages.Package("ok", "1", module=runtime("CUDA")))
    row = rows(lambda: nvidia.cuda(None))["CUDA"]
    assert row.state == "ok" or "CUDA" in row.what or "cuda" in row.what


@pytest.mark.parametrize(
    ("outcome", "state", "what"),
    [
        (
            SimpleNamespace(returncode=0, stdout="BF16 BIN FP32 INT8\n", stderr=""),
            "ok",
            "7.1, BF16, FP32, INT8 on this",
        ),
        (
            SimpleNamespace(returncode=1, stdout="", stderr="noise\nImportError: bad ELF\n"),
            "broken",
            "7.1: ImportError: ",
        ),
        (SimpleNamespace(returncode=-4, stdout="", stderr=""), "broken", "7.1: the process ended with -4"),
        (subprocess.TimeoutExpired("python", 8), "broken", "7.1: it did not answer within 8 s"),
    ],
    ids=["loads", "does not load", "crashes", "hangs"],
)
def test_openvino_is_asked(monkeypatch: pytest.MonkeyPatch, outcome: Any, state: str, what: str) -> None:
    def run(*command: Any, **options: Any) -> Any:
        assert options["timeout"] < 10
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(packages, "find", lambda name: packages.Package("ok", "7.1"))
    monkeypatch.setattr(findings.subprocess, "run", run)
    row = rows(lambda: doctor._openvino(None))["openvino"]
    assert row.state == state
    assert what in row.what
    assert bool(row.cure) == (state == "broken")


def test_openvino_is_really_asked() -> None:
    row = rows(lambda: doctor._openvino(None))["openvino"]
    if packages.find("openvino").state == "ok":
        assert row.state == "ok"
        assert "FP32" in row.what
    else:
        assert (row.state, row.cure) == ("missing", 'pip install "edgezoo[openvino]"')


@pytest.mark.parametrize(("gpu", "cure"), [(None, ""), (devices.Device(name="A GPU"), "edgezoo[gpu]")])
def test_cuda_that_is_not_built_in(monkeypatch: pytest.MonkeyPatch, gpu: Any, cure: str) -> None:
    monkeypatch.setattr(packages, "load", lambda name, **more: packages.Package("ok", "1", module=runtime("CPU")))
    monkeypatch.setattr(devices, "nvidia", lambda: gpu)
    row = rows(lambda: nvidia.cuda(None))["CUDA"]
    assert row.state == "missing"
    assert cure in row.cure


def runtime(*providers: str) -> Any:
    """In place of onnxruntime."""
    return SimpleNamespace(get_available_providers=lambda: [f"{name}ExecutionProvider" for name in providers])


@pytest.mark.parametrize(
    ("answer", "name", "trouble"),
    [
        (
            SimpleNamespace(returncode=0, stdout="H100, 550.1, 80 GiB\nH100, 550.1, 80 GiB\n", stderr=""),
            "H100, 550",
            "",
        ),
        (SimpleNamespace(returncode=9, stdout="Driver/library version mismatch\n", stderr=""), "", "version mismatch"),
        (subprocess.TimeoutExpired("nvidia-smi", 4), "", "does not answer"),
    ],
)
def test_gpus(monkeypatch: pytest.MonkeyPatch, answer: Any, name: str, trouble: str) -> None:
    def run(*command: Any, **options: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(devices.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(devices.subprocess, "run", run)
    found = devices.nvidia()
    assert found is not None
    assert name in found.name
    assert trouble in found.trouble
    assert rows(lambda: nvidia.gpu(None))["GPU"].state == ("broken" if trouble else "ok")


@pytest.mark.skipif(sys.platform != "linux", reason="cameras are listed on Linux only")
def test_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = {"/dev/video1": PermissionError(13, "denied"), "/dev/video2": OSError(16, "Device or resource busy")}
    real = os.open

    def opened(path: Any, flags: int, *more: Any) -> int:
        if path in errors:
            raise errors[path]
        return real(os.devnull if path == "/dev/video10" else path, flags, *more)

    monkeypatch.setattr(devices.glob, "glob", lambda pattern: ["/dev/video10", "/dev/video2", "/dev/video1"])
    monkeypatch.setattr(devices.os, "open", opened)
    found = list(devices.cameras())  # video10 is no camera
    assert [camera.path for camera in found] == ["/dev/video1", "/dev/video2"]
    assert "usermod -aG video" in found[0].cure
    assert {row.state for row in rows(doctor._cameras).values()} == {"broken"}


@pytest.mark.parametrize(
    ("caps", "of_node", "name"),
    [
        (0x84200001, 0x04200001, "A Webcam"),
        (0x84A00001, 0x04A00000, ""),  # its metadata's node
        (0x84204000, 0x04204000, ""),  # a codec
        (0x00000001, 0, "A Webcam"),  # a driver of before there were capabilities by node
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="cameras are listed on Linux only")
def test_which_nodes_are_cameras(monkeypatch: pytest.MonkeyPatch, caps: int, of_node: int, name: str) -> None:
    import fcntl

    def ioctl(handle: int, request: int, answer: bytearray) -> int:
        assert (request, len(answer)) == (0x80685600, 104)
        devices._CAPABILITY.pack_into(answer, 0, b"uvcvideo", b"A Webcam", b"usb", 0, caps, of_node)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    assert devices._camera_name(0) == name


@pytest.mark.parametrize(
    ("variables", "state"),
    [({}, "missing"), ({"DISPLAY": ":0"}, "ok"), ({"WAYLAND_DISPLAY": "wayland-0"}, "ok")],
)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a screen")
def test_displays(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], state: str) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert rows(doctor._display)["display"].state == state


def test_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "not" / "yet"))
    assert rows(doctor._cache)["cache"].state == "ok"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "weights").write_bytes(bytes(3 << 20))
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "full"))
    assert "1 files, 3.0 MiB" in rows(doctor._cache)["cache"].what
    monkeypatch.setattr(doctor, "_LIST_S", -1.0)
    assert "more than" in rows(doctor._cache)["cache"].what
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert rows(doctor._cache)["cache"].state == "broken"
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "full" / "weights"))
    assert rows(doctor._cache)["cache"].state == "broken"


@pytest.mark.parametrize(
    ("mirror", "state", "what"),
    [
        (None, "ok", "not set"),
        ("/nowhere/at/all", "broken", "no such folder"),
        ("{here}", "ok", "without SHA256SUMS"),
        ("https://me:secret@mirror.example/zoo", "ok", "https://mirror.example/zoo, not tried"),
    ],
)
def test_mirrors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mirror: str | None, state: str, what: str) -> None:
    monkeypatch.delenv("EDGEZOO_MIRROR", raising=False)
    if mirror is not None:
        monkeypatch.setenv("EDGEZOO_MIRROR", mirror.format(here=tmp_path))
    row = rows(doctor._mirror)["EDGEZOO_MIRROR"]
    assert row.state == state
    assert what in row.what
    assert "secret" not in row.what


def test_a_container_with_less_time_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "cpu_quota", lambda: 1.5)
    monkeypatch.setattr(doctor, "cores", lambda: 8)
    monkeypatch.setattr(doctor, "instruction_sets", lambda: ["avx2"])
    found = rows(doctor._cpu)
    assert (found["CPU"].cure, found["instructions"].state) == ("--threads 1", "missing")
