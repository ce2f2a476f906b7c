"""Engines that were built elsewhere, before they are kept: whether they load, are of this graph, and run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_modules import NEWEST, faked
from fake_parts import built, graph, model
from onnx import TensorProto, helper

from edgezoo.backends.tensorrt import cuda
from edgezoo.backends.tensorrt.building import Order
from edgezoo.backends.tensorrt.checking import check
from edgezoo.backends.tensorrt.options import BuildOptions
from edgezoo.errors import BackendError, RequestError

JUNK = b"junk"


@pytest.fixture
def version(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", NEWEST))


@pytest.fixture(autouse=True)
def fakes(version: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with faked(monkeypatch, FAKE_TENSORRT=version):
        from cuda import fake

        fake.reset()
        yield
        assert fake.live() == fake.nothing()


@pytest.fixture
def tried(tmp_path: Path) -> Callable[..., list[str]]:
    """What is said of an engine, bytes or a graph that one is built of first, as one of a graph."""

    def try_it(engine: bytes, wanted: bytes, *, options: BuildOptions | None = None, **settings: Any) -> list[str]:
        data = engine if engine == JUNK else bytes(built(engine, **{"profiling_verbosity": _detailed()} | settings))
        (tmp_path / "graph").write_bytes(wanted)
        (tmp_path / "into").write_bytes(data)
        paths = {name: tmp_path / name for name in ("graph", "into", "timing")}
        order = Order(model="net", device=0, options=options or BuildOptions(), check=True, **paths)
        said: list[dict[str, Any]] = []
        assert check(order, said.append)["layers"] > 0
        return [each["say"] for each in said if "say" in each]

    return try_it


def _detailed() -> Any:
    return cuda.tensorrt().ProfilingVerbosity.DETAILED


def net(*, door: str = "images", exit_: str = "doubled", size: int = 2, kind: int = TensorProto.FLOAT) -> bytes:
    nodes = [
        helper.make_node("Cast", [door], ["real"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "two"], ["twice"], "double"),
        helper.make_node("Cast", ["twice"], [exit_], "out", to=kind),
    ]
    shape = ["N", size, 2, 3]
    return model(nodes, [(door, TensorProto.UINT8, shape)], [(exit_, kind, shape)], {"two": 2})


@pytest.mark.parametrize("version", ["8.6.2", "10.3.0", NEWEST], indirect=True)
@pytest.mark.parametrize("ranges", [((1,), (2,), (4,)), ((3,), (3,), (3,))])
def test_an_engine_of_the_graph(tried: Callable[..., list[str]], ranges: Any) -> None:
    assert tried(graph(), graph(), ranges=ranges) == []


@pytest.mark.parametrize("version", ["8.6.2", "10.3.0"], indirect=True)
def test_answers_that_a_version_has_in_32_bits(tried: Callable[..., list[str]]) -> None:
    assert tried(net(kind=TensorProto.INT64), net(kind=TensorProto.INT64)) == []


DOOR, EXIT = "images uint8 (N, 2, 2, 3)", "doubled float32 (N, 2, 2, 3)"


@pytest.mark.parametrize(
    ("engine", "wanted", "got"),
    [
        (net(size=4), DOOR, "images uint8 (N, 4, 2, 3)"),
        (net(door="pixels"), DOOR, "pixels uint8 (N, 2, 2, 3)"),
        (net(exit_="tripled"), EXIT, "tripled float32 (N, 2, 2, 3)"),
        (net(kind=TensorProto.FLOAT16), EXIT, "doubled float16 (N, 2, 2, 3)"),
    ],
    ids=["size", "door", "exit", "kind"],
)
def test_an_engine_of_another_graph(tried: Callable[..., list[str]], engine: bytes, wanted: str, got: str) -> None:
    with pytest.raises(RequestError) as caught:
        tried(engine, net())
    told = f"expected {wanted} as this artifact has them, the engine has {got}; build it of the artifact's own .onnx"
    assert str(caught.value) == told


def test_a_graph_of_one_batch_size(tried: Callable[..., list[str]]) -> None:
    assert tried(graph(dynamic=False), graph(dynamic=False), ranges=None) == []
    with pytest.raises(RequestError, match=r"expected images uint8 \(1, 2, 2, 3\) as .* has images uint8 \(N, 2, 2, 3"):
        tried(graph(), graph(dynamic=False))


def test_what_does_not_load(tried: Callable[..., list[str]]) -> None:
    with pytest.raises(RequestError, match=r"TensorRT 11\.4\.0\.106 does not take it: .*kMAGIC_TAG failed.*; build it"):
        tried(JUNK, net())
    with pytest.raises(RequestError, match=r"does not take it: .*host code is not allowed"):
        tried(graph(), graph(), flags=["VERSION_COMPATIBLE"])
    options = BuildOptions(version_compatible=True)
    assert tried(graph(), graph(), flags=["VERSION_COMPATIBLE"], options=options) == []


def test_what_does_not_run(tried: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.tensorrt().IExecutionContext, "execute_async_v3", lambda context, stream: False)
    with pytest.raises(BackendError, match="tensorrt failed"):
        tried(graph(), graph())


def quantised() -> bytes:
    ends = [helper.make_node(f"{name}Linear", [source, "scale", "zero"], [to], name) for name, source, to in (
        ("Quantize", "real", "q"), ("Dequantize", "q", "dq"),
    )]  # fmt: skip
    weights = {"w": np.ones((3, 8), np.int8), "scale": 1.0, "zero": np.asarray(0, np.int8)}
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], "cast", to=TensorProto.FLOAT),
        *ends,
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["weights"], "wDQ"),
        helper.make_node("MatMul", ["dq", "weights"], ["doubled"], "product"),
    ]
    shape: list[str | int] = ["N", 2, 2]
    ports = [("images", TensorProto.UINT8, [*shape, 3])], [("doubled", TensorProto.FLOAT, [*shape, 8])]
    return model(nodes, *ports, weights)


def real() -> bytes:
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], "cast", to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["real", "w"], ["doubled"], "product"),
    ]
    shape: list[str | int] = ["N", 2, 2]
    ports = [("images", TensorProto.UINT8, [*shape, 3])], [("doubled", TensorProto.FLOAT, [*shape, 8])]
    return model(nodes, *ports, {"w": np.ones((3, 8), np.float32)})


def test_an_engine_that_computes_in_something_else_is_told(tried: Callable[..., list[str]]) -> None:
    assert tried(quantised(), quantised()) == []
    (word,) = tried(quantised(), real())
    assert word == "the engine computes in int8, and the artifact is fp32: its answers may be further off"
    (word,) = tried(real(), quantised())
    assert word == "the engine computes in fp32, and the artifact is int8: its answers may be further off"
    (word,) = tried(real(), real(), profiling_verbosity=cuda.tensorrt().ProfilingVerbosity.LAYER_NAMES_ONLY)
    assert word.startswith("the engine does not tell what it computes in, and the artifact is fp32; trtexec has it")
