"""What is told of an NVIDIA driver, over doubles of its library; and that captures are left alone."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgezoo import optional
from edgezoo.backends import _nvidia, open_backend
from edgezoo.backends._nvidia import Driver, Turns
from edgezoo.errors import BackendError, MissingDependency


class Library:
    """A libcuda that answers as it is told."""

    def __init__(self, code: int, gpus: int, cuda: int) -> None:
        self._answers = code, gpus, cuda
        self.calls: list[str] = []

    def cuInit(self, flags: int) -> int:  # noqa: N802
        self.calls.append("init")
        return self._answers[0]

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        self.calls.append("count")
        count._obj.value = self._answers[1]
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = self._answers[2]
        return 0


@pytest.mark.parametrize(("code", "gpus", "answer"), [(0, 2, (0, 2, 13000)), (100, 5, (100, 0, 13000))])
def test_the_driver_is_asked(code: int, gpus: int, answer: tuple[int, int, int]) -> None:
    library = Library(code, gpus, 13000)
    assert _nvidia._answers(library) == answer
    assert library.calls == ["init", "count"][: 1 if code else 2]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine that is no container and no Jetson."""
    monkeypatch.setattr(_nvidia, "_in_container", lambda: "")
    monkeypatch.setattr(_nvidia, "on_jetson", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("driver", "asked", "told"),
    [
        (Driver(gpus=1, cuda=13000), {}, ""),
        (Driver(gpus=1, cuda=13010), {"cuda": 13}, ""),
        (Driver(gpus=1, cuda=13010), {"cuda": 12}, ""),
        (Driver(gpus=1, cuda=0), {"cuda": 13}, ""),
        (Driver(gpus=1, cuda=12040), {"cuda": 13}, "runs CUDA 12.4 at most, and CUDA 13 is needed; install driver 580"),
        (Driver(gpus=1, cuda=13000), {"cuda": 14}, "CUDA 14 is needed; install driver of its time or newer"),
        (Driver(gpus=2, cuda=13000), {"gpu": 1}, ""),
        (Driver(gpus=2, cuda=13000), {"gpu": 2}, "there is no GPU 2: there are 2, counted from 0"),
        (Driver(gpus=1, cuda=13000), {"gpu": 7}, "there is no GPU 7: there is one"),
        (Driver(gpus=0, cuda=13000), {}, "sees no GPU; `nvidia-smi` may tell why"),
        (Driver(code=100, cuda=13000), {}, "sees no GPU"),
        (Driver(code=803, cuda=13000), {}, "does not start (CUDA error 803): its library and its kernel module"),
        (Driver(code=999, cuda=13000), {}, "the kernel module does not answer; try: sudo rmmod nvidia_uvm"),
        (Driver(code=34, cuda=13000), {}, "take the folder stubs out of LD_LIBRARY_PATH"),
        (Driver(code=4711, cuda=13000), {}, "CUDA error 4711): `nvidia-smi` may tell more"),
        (Driver(trouble="no driver"), {"cuda": 13}, "no driver"),
    ],
)
def test_what_is_missing(plain: pytest.MonkeyPatch, driver: Driver, asked: dict[str, int], told: str) -> None:
    plain.setattr(_nvidia, "_ask", lambda: driver)
    found = _nvidia.missing(**asked)
    assert told in found
    assert bool(found) == bool(told)
    assert "\n" not in found


def test_hidden_gpus_are_not_missing(plain: pytest.MonkeyPatch) -> None:
    plain.setattr(_nvidia, "_ask", lambda: Driver(code=100, cuda=13000))
    plain.setenv("CUDA_VISIBLE_DEVICES", "")
    assert _nvidia.missing() == "CUDA_VISIBLE_DEVICES='' hides every GPU; try: unset CUDA_VISIBLE_DEVICES"


def test_the_newest_cuda(plain: pytest.MonkeyPatch) -> None:
    plain.setattr(_nvidia, "_ask", lambda: Driver(gpus=1, cuda=12080))
    assert _nvidia.driver_cuda() == (12, 8)
    plain.setattr(_nvidia, "_ask", lambda: Driver(trouble="no driver"))
    assert _nvidia.driver_cuda() is None


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("print('answers 0 1 12060')", ""),
        (
            "print('absent libcuda.so.1: cannot open shared object file: No such file or directory')",
            "there is no NVIDIA",
        ),
        ("print('absent libcuda.so.1: wrong ELF class: ELFCLASS32')", "does not load: libcuda.so.1: wrong ELF class"),
        ("import os; os.abort()", "crashed when it was asked (-6)"),
        ("import time; time.sleep(60)", "does not answer within 1 s"),
        ("", "crashed when it was asked (0)"),
    ],
    ids=["answers", "absent", "broken", "crashes", "hangs", "says nothing"],
)
def test_a_driver_that_crashes_or_hangs_harms_nobody(
    plain: pytest.MonkeyPatch, tmp_path: Path, code: str, told: str
) -> None:
    asks = tmp_path / "asks.py"
    asks.write_text(code)
    plain.setattr(_nvidia, "__file__", str(asks))
    plain.setattr(_nvidia, "_ASK_S", 1.0)
    began = time.monotonic()
    assert told in (found := _nvidia.missing())
    assert bool(found) == bool(told)
    assert time.monotonic() - began < 10


def test_it_is_asked_without_edgezoo() -> None:
    """The child loads nothing but Python's own, so that it costs little and says the truth about the driver alone."""
    done = subprocess.run([sys.executable, "-I", "-S", _nvidia.__file__], capture_output=True, text=True, check=True)
    kind, *rest = done.stdout.split()
    try:
        ctypes.CDLL(_nvidia.LIBRARY)
    except OSError:
        assert kind == "absent"
    else:
        assert kind == "answers"
        assert len(list(map(int, rest))) == 3


@pytest.mark.parametrize(("where", "cure"), [("container", "start the container with --gpus all"), ("", "get it from")])
def test_no_driver(plain: pytest.MonkeyPatch, where: str, cure: str) -> None:
    plain.setattr(_nvidia, "_in_container", lambda: cure if where else "")
    assert cure in _nvidia._absent("libcuda.so.1: cannot open shared object file: No such file or directory")


# Turns.


def test_users_go_together() -> None:
    turns, inside = Turns(), threading.Barrier(3)

    def use() -> None:
        with turns.together():
            inside.wait(5)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    with turns.together():
        inside.wait(5)  # broken unless all three are inside at once
    for thread in threads:
        thread.join()


def test_who_is_alone_is_alone() -> None:
    turns, busy, seen = Turns(), [0, 0], []

    def use(alone: bool) -> None:
        for _ in range(200):
            with turns.alone() if alone else turns.together():
                busy[alone] += 1
                seen.append(tuple(busy))
                time.sleep(0)
                seen.append(tuple(busy))
                busy[alone] -= 1

    threads = [threading.Thread(target=use, args=(alone,)) for alone in (True, True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == 1200
    assert {pair for pair in seen if pair[1]} == {(0, 1)}
    assert {pair for pair in seen if pair[0]} == {(1, 0)}


def test_who_wants_to_be_alone_is_not_starved() -> None:
    turns, stop, done = Turns(), threading.Event(), threading.Event()

    def use() -> None:
        while not stop.is_set():
            with turns.together():
                time.sleep(0.001)

    def claim() -> None:
        with turns.alone():
            done.set()

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    claimant = threading.Thread(target=claim)
    claimant.start()
    assert done.wait(5)
    stop.set()
    for thread in [*threads, claimant]:
        thread.join()


def test_turns_end_with_an_error() -> None:
    turns = Turns()
    for way in (turns.together, turns.alone):
        with pytest.raises(ValueError, match="within"), way():
            raise ValueError("within")
    with turns.alone():
        pass


@pytest.mark.parametrize(
    ("jetson", "spoken", "told"),
    [
        (False, None, "try: the newest"),
        (False, (13, 0), "try: the newest"),
        (False, (12, 4), "try: the older"),
        (True, (12, 6), "`edgezoo doctor` tells what this Jetson's own system has for it"),
    ],
)
def test_a_package_is_the_drivers_or_the_boards(
    plain: pytest.MonkeyPatch, jetson: bool, spoken: tuple[int, int] | None, told: str
) -> None:
    plain.setattr(_nvidia, "driver_cuda", lambda: spoken)
    plain.setattr(_nvidia, "on_jetson", lambda: jetson)
    assert _nvidia.cure("the newest", on_cuda_12="the older") == told


@pytest.mark.parametrize("module", ["cv2", "onnxruntime", "tensorrt", "torch"])
def test_nothing_of_pips_is_offered_that_would_shadow_a_jetsons_own(plain: pytest.MonkeyPatch, module: str) -> None:
    plain.setattr(optional, "on_jetson", lambda: True)
    plain.setattr(optional, "_loaded", {})
    plain.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency) as caught:
        optional.require(module)
    assert ("pip install" in str(caught.value)) == (module == "torch")


def test_what_else_is_missing_is_told_at_once(plain: pytest.MonkeyPatch) -> None:
    """Not only when the package is there at last."""
    plain.setattr(_nvidia, "missing", lambda *given, **how: "there is no NVIDIA driver")
    plain.setattr(_nvidia, "driver_cuda", lambda: None)
    onnxruntime = pytest.importorskip("onnxruntime")
    plain.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(
        BackendError, match=r"has only CPU; try: .*edgezoo\[gpu\].*; besides, there is no NVIDIA driver"
    ):
        open_backend("onnxruntime", b"", device="cuda")
    plain.setattr(optional, "_loaded", {})
    plain.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependency, match=r"^tensorrt is not installed; .*; besides, there is no NVIDIA driver$"):
        open_backend("tensorrt", b"")
