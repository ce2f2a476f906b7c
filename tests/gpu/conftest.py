"""The two ways to a GPU, the bundle that runs on both, and the table of figures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import must, need
from lowered import lowered, small_card

import edgezoo
from edgezoo.backends import _nvidia
from edgezoo.bundle import Bundle
from edgezoo.convert import convert, seeded_scenes
from edgezoo.engine import Engine
from edgezoo.errors import BackendError, MissingDependency
from edgezoo.loading import find_bundle
from edgezoo.machine import machine
from gpu.memory import device_free

DEVICE = os.environ.get("EDGEZOO_GPU_DEVICE", "cuda")
FAKES = Path(__file__).parents[1] / "fakes"
RUNS = int(os.environ.get("EDGEZOO_GPU_RUNS", "10000" if must("cuda") or must("tensorrt") else "500"))
RANGE = (1, 2, 8 if RUNS >= 1000 else 3)  # batch sizes that TensorRT's engines are built for
ARTIFACTS = ("fp32", "fp16", "int8-tensorrt")


@dataclass(frozen=True)
class Way:
    """A backend on the GPU."""

    backend: str
    device: str
    options: dict[str, Any] = field(default_factory=dict)
    rehearsal: str = ""
    """What stands in for the GPU; empty where it is one."""

    def open(self, bundle: Bundle, artifact: str, *, batch: int | tuple[int, int, int] = RANGE) -> Engine:
        if self.backend == "tensorrt":
            edgezoo.compile(bundle, precision=artifact, device=self.device, batch=batch)
        options = dict(self.options)
        return Engine(bundle, backend=self.backend, device=self.device, precision=artifact, options=options)


@pytest.fixture(scope="session", params=["onnxruntime", "tensorrt"])
def way(request: pytest.FixtureRequest, own_cache: Path) -> Way:
    return _onnxruntime() if request.param == "onnxruntime" else _tensorrt()


def _onnxruntime() -> Way:
    if DEVICE == "cpu":
        need("cuda", not must("cuda"), "EDGEZOO_GPU_DEVICE=cpu asks for a rehearsal")
        return Way("onnxruntime", "cpu", {"io_binding": True}, "the CPU's own memory")
    runtime = pytest.importorskip("onnxruntime")
    built = "CUDAExecutionProvider" in runtime.get_available_providers()
    need("cuda", built, "this onnxruntime has no CUDA")
    missing = _nvidia.missing()
    need("cuda", not missing, missing)
    return Way("onnxruntime", DEVICE)


def _tensorrt() -> Way:
    from edgezoo.backends.tensorrt import cuda

    device = "cuda" if DEVICE == "cpu" else DEVICE
    try:
        cuda.facts(cuda.index_of(device))
    except (MissingDependency, BackendError) as error:
        need("tensorrt", False, str(error))
    fake = (FAKES / "tensorrt" / "__init__.py").samefile(str(cuda.tensorrt().__file__))
    need("tensorrt", not (fake and must("tensorrt")), "it is the TensorRT of tests/fakes, which is none")
    return Way("tensorrt", device, rehearsal="a TensorRT that is none" if fake else "")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The built-in detector, in every precision that a GPU runs; for a rehearsal a network that is done at once."""
    folder = tmp_path_factory.mktemp("gpu")
    source = find_bundle("digits") if RUNS >= 1000 else convert(small_card(folder), folder / "small")
    return lowered(source, folder / "lowered", seeded_scenes()[:2])


@pytest.fixture(scope="session")
def free(way: Way) -> Callable[[], int]:
    """Free memory of the device in bytes; what other programs do there counts, too."""
    return lambda: 0 if way.device == "cpu" else device_free(way.device)


class Figures:
    """What was measured, told at the end of all tests."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.rehearsals: set[str] = set()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for what in sorted(self.rehearsals):
            terminalreporter.section("a rehearsal", sep="!")
            terminalreporter.write_line(f"No GPU ran here, but {what}: the figures say nothing about one.")
        if self.rows:
            terminalreporter.section("figures")
            widths = {key: max(len(key), *(len(str(row[key])) for row in self.rows)) for key in self.rows[0]}
            for row in [dict(zip(widths, widths)), *self.rows]:
                terminalreporter.write_line("  ".join(str(row[key]).ljust(width) for key, width in widths.items()))

    def to_dict(self) -> dict[str, Any]:
        return {"machine": machine(), "rehearsals": sorted(self.rehearsals), "rows": self.rows}


@pytest.fixture(scope="session")
def _figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    figures = Figures()
    request.config.pluginmanager.register(figures, "figures of the GPU")
    yield figures
    if (file := os.environ.get("EDGEZOO_GPU_FIGURES")) and figures.rows:
        Path(file).write_text(json.dumps(figures.to_dict(), indent=1) + "\n", "utf-8")


@pytest.fixture(scope="session")
def figures(_figures: Figures, way: Way) -> Figures:
    if way.rehearsal:
        _figures.rehearsals.add(way.rehearsal)
    return _figures


@pytest.fixture(scope="session")
def both(_figures: Figures, own_cache: Path) -> tuple[Way, Way]:
    """ONNX Runtime and TensorRT, where both are there."""
    ways = _onnxruntime(), _tensorrt()
    _figures.rehearsals.update(way.rehearsal for way in ways if way.rehearsal)
    return ways


@pytest.fixture(scope="session", params=ARTIFACTS, ids=lambda name: name.partition("-")[0])
def engine(request: pytest.FixtureRequest, way: Way, bundle: Bundle, figures: Figures) -> Iterator[Engine]:
    """Every artifact, opened for all batch sizes of the range."""
    with closing(way.open(bundle, request.param)) as opened:
        yield opened
