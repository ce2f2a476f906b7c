"""The shelf of runtimes: every one keeps the contract, and none falls back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from conftest import need

import edgezoo.backends
from edgezoo.backends import Backend, Port, backends, open_backend
from edgezoo.bundle import Bundle
from edgezoo.errors import BackendError, MissingDependency, RequestError, UnknownName
from edgezoo.preprocess import Preprocess

RECIPE = Preprocess(size_wh=(64, 48), fit="stretch")
BOX = (8, 6, 40, 30)


@pytest.fixture(params=backends())
def name(request: pytest.FixtureRequest) -> str:
    """Every backend whose runtime is here."""
    try:
        open_backend(request.param, b"not a graph")
    except MissingDependency as error:
        need(request.param, False, str(error))
    except BackendError:
        pass
    return str(request.param)


@pytest.fixture
def graph(bundle_of: Callable[..., Bundle]) -> bytes:
    bundle = bundle_of("squares", RECIPE)
    return bundle.read_graph(bundle.artifact())


@pytest.fixture
def backend(name: str, graph: bytes) -> Iterator[Backend]:
    opened = open_backend(name, graph)
    yield opened
    opened.close()


def images(n: int) -> dict[str, Any]:
    """`n` scenes with the square a pixel further each."""
    boxes = [tuple(side + k for side in BOX) for k in range(n)]
    return {"images": np.stack([graphs.scene((64, 48), box) for box in boxes])}


def test_the_shelf() -> None:
    files = sorted(path.stem for path in Path(edgezoo.backends.__file__).parent.glob("[!_]*.py"))
    assert backends() == files
    assert "onnxruntime" in files


def test_ports_say_what_the_graph_takes_and_answers(backend: Backend) -> None:
    assert backend.inputs == (Port("images", "uint8", (None, 48, 64, 3)),)
    assert sorted(backend.outputs, key=lambda port: port.name) == [
        Port("boxes", "float32", (None, 1, 4)),
        Port("scores", "float32", (None, 1, 3)),
    ]


def test_ports_of_a_fixed_batch(name: str, bundle_of: Callable[..., Bundle]) -> None:
    bundle = bundle_of("squares", RECIPE, batch=2)
    backend = open_backend(name, bundle.read_graph(bundle.artifact()))
    assert backend.inputs == (Port("images", "uint8", (2, 48, 64, 3)),)
    assert {port.shape[0] for port in backend.outputs} == {2}
    assert backend.run(images(2))["boxes"].shape == (2, 1, 4)
    with pytest.raises(BackendError):
        backend.run(images(1))
    backend.close()


def test_what_really_runs(backend: Backend, name: str) -> None:
    runs = backend.runs
    assert (runs.backend, runs.device) == (name, "cpu")
    assert runs.version[0].isdecimal()
    assert json.loads(json.dumps(runs.to_dict()))["backend"] == name
    assert str(runs).startswith(f"{name} {runs.version} on cpu")


@pytest.mark.parametrize(("threads", "told"), [(1, ", 1 thread"), (2, ", 2 threads")])
def test_threads_are_told(name: str, graph: bytes, threads: int, told: str) -> None:
    backend = open_backend(name, graph, threads=threads)
    assert backend.runs.threads == threads
    assert str(backend.runs).endswith(told)
    assert backend.run(images(1))["boxes"].tolist() == [[list(BOX)]]
    backend.close()


@pytest.mark.parametrize("n", [1, 3, 8])
def test_run(backend: Backend, n: int) -> None:
    feeds = images(n)
    before = feeds["images"].copy()
    answers = backend.run(feeds)
    assert set(answers) == {"boxes", "scores"}
    np.testing.assert_array_equal(answers["boxes"][:, 0], np.array(BOX) + np.arange(n)[:, None])
    np.testing.assert_allclose(answers["scores"][:, 0], [[0, 0, 1]] * n, atol=1e-6)
    assert answers["boxes"].dtype == answers["scores"].dtype == np.float32
    np.testing.assert_array_equal(feeds["images"], before)


def test_answers_own_their_memory(backend: Backend) -> None:
    first = backend.run(images(2))
    kept = {name: value.copy() for name, value in first.items()}
    backend.run({"images": np.zeros((2, 48, 64, 3), np.uint8)})
    for name, value in first.items():
        np.testing.assert_array_equal(value, kept[name])


def test_views_are_fed_like_copies(backend: Backend) -> None:
    wide = np.repeat(images(2)["images"], 2, axis=0)[::2]
    assert not wide.flags.c_contiguous
    np.testing.assert_array_equal(backend.run({"images": wide})["boxes"], backend.run(images(2))["boxes"])


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"pictures": np.zeros((1, 48, 64, 3), np.uint8)},
        {"images": np.zeros((1, 64, 48, 3), np.uint8)},
        {"images": np.zeros((48, 64, 3), np.uint8)},
        {"images": np.zeros((1, 48, 64, 3), np.float32)},
        {"images": "text"},
    ],
    ids=range(6),
)
def test_a_wrong_feed_is_told_in_one_line(backend: Backend, feeds: Any) -> None:
    with pytest.raises(BackendError, match=r": \S.{10}") as caught:
        backend.run(feeds)
    assert "\n" not in str(caught.value)
    assert backend.run(images(1))["boxes"].tolist() == [[list(BOX)]]  # and it still works


@pytest.mark.parametrize("data", [b"", b"not a graph", b"\x08\x08"])
def test_a_graph_that_is_none(name: str, data: bytes) -> None:
    with pytest.raises(BackendError) as caught:
        open_backend(name, data)
    assert "\n" not in str(caught.value)


def test_close(name: str, graph: bytes) -> None:
    backend = open_backend(name, graph)
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.run(images(1))


@pytest.mark.parametrize(
    ("how", "kind", "raises"),
    [
        ({"device": "gpu"}, RequestError, "expected device"),
        ({"device": "cuda:x"}, RequestError, "expected device"),
        ({"device": ""}, RequestError, "expected device"),
        ({"threads": 0}, RequestError, "expected 1 thread or more, got 0"),
        ({"threads": -1}, RequestError, "expected 1 thread or more, got -1"),
        ({"options": {"spni": True}}, UnknownName, "no option of .* is called 'spni'"),
    ],
)
def test_a_wrong_request(name: str, graph: bytes, how: dict[str, Any], kind: type[Exception], raises: str) -> None:
    with pytest.raises(kind, match=raises):
        open_backend(name, graph, **how)


def test_a_runtime_that_is_none(graph: bytes) -> None:
    with pytest.raises(UnknownName, match="no backend is called 'onnxruntim'; did you mean 'onnxruntime'"):
        open_backend("onnxruntim", graph)


def test_a_runtime_that_is_not_installed(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgezoo.backends.onnxruntime.require", _absent)
    with pytest.raises(MissingDependency, match=r'onnxruntime is not installed; try: pip install "edgezoo\[cpu\]"'):
        open_backend("onnxruntime", graph)


def _absent(module: str) -> None:
    from edgezoo.optional import EXTRA_OF

    raise MissingDependency(f'{module} is not installed; try: pip install "edgezoo[{EXTRA_OF[module]}]"')


# ONNX Runtime's own.


def has_cuda() -> bool:
    return "CUDAExecutionProvider" in pytest.importorskip("onnxruntime").get_available_providers()


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_asked_for_cuda_without_it(graph: bytes, device: str) -> None:
    if has_cuda():
        pytest.skip("this machine has CUDA")
    with pytest.raises(BackendError) as caught:
        open_backend("onnxruntime", graph, device=device)
    assert f"asked for {device}, but this onnxruntime has only" in str(caught.value)
    assert 'pip install "edgezoo[gpu]"' in str(caught.value)


def test_asked_for_cuda_where_it_is(graph: bytes) -> None:
    need("cuda", has_cuda(), "this onnxruntime has no CUDA")
    backend = open_backend("onnxruntime", graph, device="cuda")
    assert backend.runs.device == "cuda:0"
    assert backend.run(images(2))["boxes"][0].tolist() == [list(BOX)]


def test_a_provider_that_falls_back_is_found_out(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the CUDA libraries do not load: the session opens, on the CPU, without an error."""
    runtime = pytest.importorskip("onnxruntime")
    real = runtime.InferenceSession

    def on_cpu(graph: bytes, settings: Any, providers: Any) -> Any:
        return real(graph, settings, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(runtime, "InferenceSession", on_cpu)
    monkeypatch.setattr(runtime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(BackendError, match="asked for cuda, but onnxruntime would run CPUExecutionProvider"):
        open_backend("onnxruntime", graph, device="cuda")


def test_spinning_can_be_turned_off(graph: bytes) -> None:
    backend = open_backend("onnxruntime", graph, options={"spin": False})
    assert backend.run(images(1))["boxes"].tolist() == [[list(BOX)]]
