"""The TensorRT backend over a TensorRT that is none: its calls, their order, memory and numbers; not TensorRT itself.

What the fakes prove, and what they cannot, stands in `tests/fakes`; that their names are NVIDIA's own is held by
`test_tensorrt_names.py`; what runs on a GPU is in `tests/gpu`.
"""

from __future__ import annotations

import gc
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
from fake_modules import NEWEST, VERSIONS, faked
from onnx import TensorProto, helper

import edgezoo
from edgezoo.backends import Backend, Port, layers, open_backend
from edgezoo.backends.tensorrt import cuda, engines, private
from edgezoo.backends.tensorrt.building import Order, _failure, build
from edgezoo.backends.tensorrt.fitting import Record
from edgezoo.backends.tensorrt.logger import logger
from edgezoo.backends.tensorrt.options import BuildOptions
from edgezoo.bundle import Bundle
from edgezoo.engine import Engine
from edgezoo.errors import BackendError, MissingDependency, NotCompiled, RequestError, UnknownName
from edgezoo.preprocess import Preprocess

RECIPE = Preprocess(size_wh=(64, 48), fit="stretch")
BOX = (8, 6, 40, 30)
BundleOf = Callable[..., Bundle]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=[NEWEST])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fake(version: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The fake's own account of what lives on the device; at the end nothing may."""
    with faked(monkeypatch, FAKE_TENSORRT=version):
        from cuda import fake

        fake.reset()
        yield fake
        gc.collect()
        assert fake.live() == fake.nothing()
        assert fake.faults() == []


@pytest.fixture
def squares(bundle_of: BundleOf) -> Bundle:
    return bundle_of("squares", RECIPE)


@pytest.fixture
def opened(fake: Any, squares: Bundle, tmp_path: Path) -> Callable[..., Any]:
    """`opened(batch=…)` compiles the bundle for that range and opens it."""

    def open_it(batch: Any = 1, **options: Any) -> Any:
        compile_here(squares, tmp_path, batch)
        graph = squares.read_graph(squares.artifact())
        return closing(open_backend("tensorrt", graph, options=options))

    return open_it


def compile_here(bundle: Bundle, folder: Path, batch: Any = 1, device: str = "cuda") -> None:
    """As `edgezoo compile` does, but in this process: a second each is too long for so many."""
    options = BuildOptions(batch=batch if isinstance(batch, tuple) else (batch, batch, batch))
    artifact, index = bundle.artifact(), cuda.index_of(device)
    private.enter()
    with private.workshop("0" * 16) as shop:
        paths = {"graph": bundle.folder / artifact.file, "into": shop / "into", "timing": folder / "timing"}
        order = Order(model=bundle.called, device=index, options=options, **paths)
        build(order, lambda news: None, threading.Event())
        sha256, here = hashlib.sha256(bundle.read_graph(artifact)).hexdigest(), cuda.facts(index)
        record = Record(called=bundle.called, artifact=artifact.name, graph_sha256=sha256, options=options, facts=here)
        engines.ask(engines.keep(order.into, record, shop))


def images(n: int) -> dict[str, Any]:
    """`n` scenes with the square a pixel further each."""
    boxes = [tuple(side + k for side in BOX) for k in range(n)]
    return {"images": np.stack([graphs.scene((64, 48), box) for box in boxes])}


def check(answers: dict[str, Any], n: int) -> None:
    np.testing.assert_array_equal(answers["boxes"][:, 0], np.array(BOX) + np.arange(n)[:, None])
    np.testing.assert_allclose(answers["scores"][:, 0], [[0, 0, 1]] * n, atol=1e-6)


@pytest.mark.parametrize("version", VERSIONS, indirect=True)
@pytest.mark.parametrize("batch", [1, 3, (1, 2, 4)], ids=str)
def test_every_version_and_batch_range(opened: Callable[..., Any], version: str, batch: Any) -> None:
    least, _, most = batch if isinstance(batch, tuple) else (batch, batch, batch)
    with opened(batch) as backend:
        fixed = least if least == most else None
        assert backend.inputs == (Port("images", "uint8", (fixed, 48, 64, 3)),)
        assert sorted(backend.outputs, key=lambda port: port.name) == [
            Port("boxes", "float32", (fixed, 1, 4)),
            Port("scores", "float32", (fixed, 1, 3)),
        ]
        assert backend.batches == (least, most)
        assert (backend.runs.backend, backend.runs.version, backend.runs.device) == ("tensorrt", version, "cuda:0")
        assert backend.runs.precisions == ("fp32",)
        for n in [*range(least, most + 1), least, most, most]:  # there and back, and again
            check(backend.run(images(n)), n)


def test_a_run_of_one_batch_size_is_one_graph_and_allocates_nothing(fake: Any, opened: Callable[..., Any]) -> None:
    with opened(2) as backend:
        for _ in range(2):
            check(backend.run(images(2)), 2)
        before, live = Counter(fake.calls()), fake.live()
        for _ in range(3):
            check(backend.run(images(2)), 2)
        done = Counter(fake.calls()) - before
        assert done == {"cudaSetDevice": 3, "cudaGraphLaunch": 3, "cudaStreamSynchronize": 3}
        assert fake.live() == live
        assert live["graphs"] == 1


@pytest.mark.parametrize(("batch", "options"), [((1, 2, 4), {}), (2, {"cuda_graph": False})])
def test_without_a_graph(fake: Any, opened: Callable[..., Any], batch: Any, options: dict[str, Any]) -> None:
    with opened(batch, **options) as backend:
        backend.run(images(2))
        before = Counter(fake.calls())
        for _ in range(3):
            check(backend.run(images(2)), 2)
        done = Counter(fake.calls()) - before
        assert done == {"cudaSetDevice": 3, "cudaMemcpyAsync": 9, "cudaStreamSynchronize": 3}
        assert fake.live()["graphs"] == 0


def test_what_cannot_be_captured_runs_without(
    fake: Any, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(1) as backend:

        def refuse(stream: Any) -> Any:
            raise BackendError("CUDA failed: cudaErrorStreamCaptureInvalidated")

        monkeypatch.setattr(cuda.Stream, "end_capture", refuse)
        before = Counter(fake.calls())["cudaStreamBeginCapture"]
        monkeypatch.setattr(cuda.Stream, "begin_capture", lambda stream: None)
        for _ in range(3):
            check(backend.run(images(1)), 1)
        assert Counter(fake.calls())["cudaStreamBeginCapture"] == before
        assert fake.live()["graphs"] == 0


def test_answers_own_their_memory_and_feeds_stay(opened: Callable[..., Any]) -> None:
    with opened((1, 2, 4)) as backend:
        feeds = images(2)
        before = feeds["images"].copy()
        first = backend.run(feeds)
        kept = {name: value.copy() for name, value in first.items()}
        backend.run({"images": np.zeros((4, 48, 64, 3), np.uint8)})
        for name, value in first.items():
            np.testing.assert_array_equal(value, kept[name])
            assert value.flags.owndata
        np.testing.assert_array_equal(feeds["images"], before)
        check(backend.run({"images": np.asfortranarray(before)}), 2)


@pytest.mark.parametrize(
    ("feeds", "raises"),
    [
        ({}, r"expected inputs \['images'\], got \[\]"),
        ({"images": np.zeros((1, 48, 64, 3), np.uint8), "more": np.zeros(1)}, r"got \['images', 'more'\]"),
        ({"images": np.zeros((1, 48, 64, 3), np.float32)}, r"uint8 \(N, 48, 64, 3\), N of 2 to 4, got float32"),
        ({"images": np.zeros((2, 64, 48, 3), np.uint8)}, r"got uint8 \(2, 64, 48, 3\)$"),
        ({"images": np.zeros((48, 64, 3), np.uint8)}, r"got uint8 \(48, 64, 3\)$"),
        ({"images": np.zeros((1, 48, 64, 3), np.uint8)}, r"got uint8 \(1, 48, 64, 3\); .* `edgezoo compile --batch`"),
        ({"images": np.zeros((5, 48, 64, 3), np.uint8)}, r"N of 2 to 4, got uint8 \(5, 48, 64, 3\); another range"),
        ({"images": np.uint8(3)}, "got uint8"),
        ({"images": [[1]]}, "got list"),
    ],
)
def test_feeds_that_do_not_fit(opened: Callable[..., Any], feeds: dict[str, Any], raises: str) -> None:
    with opened((2, 2, 4)) as backend:
        with pytest.raises(BackendError, match=raises):
            backend.run(feeds)
        check(backend.run(images(3)), 3)


@pytest.mark.parametrize("version", ["8.6.2", "11.4.0.106"], indirect=True)
def test_forks_share_the_engine_and_not_their_memory(fake: Any, opened: Callable[..., Any]) -> None:
    with opened((1, 2, 4)) as backend, closing(backend.fork(threads=None)) as fork:
        live = fake.live()
        assert (live["engines"], live["contexts"], live["streams"]) == (1, 2, 2)
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(each.run, images(n)) for n in (1, 2, 3, 4) for each in (backend, fork)]
            # Each backend is one thread's at a time; here each has a thread of its own.
            for k, job in enumerate(jobs):
                check(job.result(), 1 + k // 2)
        backend.close()
        check(fork.run(images(3)), 3)
        with pytest.raises(BackendError, match="was closed"):
            backend.run(images(1))
        with pytest.raises(BackendError, match="was closed"):
            backend.fork(threads=None)
        backend.close()


def test_what_is_forgotten_is_freed(fake: Any, opened: Callable[..., Any]) -> None:
    backend = opened(1).thing
    backend.run(images(1))
    del backend
    gc.collect()
    assert fake.live() == fake.nothing()


@pytest.mark.parametrize("call", ["cudaStreamCreateWithFlags", "cudaHostAlloc", "cudaMalloc"])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_no_room_on_the_device(
    fake: Any, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, call: str, at: int
) -> None:
    """Wherever opening fails, what it had is free again."""
    if (call, at) in [("cudaStreamCreateWithFlags", 2), ("cudaStreamCreateWithFlags", 3)]:
        pytest.skip("there is one stream")
    cudart = cuda.runtime()
    real, left = getattr(cudart, call), [at]

    def fail(*given: Any) -> tuple[Any, ...]:
        left[0] -= 1
        return real(*given) if left[0] else (cudart.cudaError_t.cudaErrorMemoryAllocation, None)

    monkeypatch.setattr(cudart, call, fail)
    with pytest.raises(BackendError, match="CUDA failed: cudaErrorMemoryAllocation, out of memory"):
        opened(1)
    gc.collect()
    assert fake.live() == fake.nothing()


def test_layers_with_their_precision_and_the_devices_time(fake: Any, squares: Bundle, tmp_path: Path) -> None:
    compile_here(squares, tmp_path, (1, 1, 2))
    found = layers("tensorrt", squares.read_graph(squares.artifact()), images(2), runs=3)
    assert found
    assert all(layer.ms >= 0 for layer in found)
    assert {layer.precision for layer in found if not layer.conversion} <= {"fp32", "int64", "int32", "bool", "uint8"}
    assert "fp32" in {layer.precision for layer in found if not layer.conversion}
    assert any(layer.conversion for layer in found)


@pytest.mark.parametrize("text", ["", "no JSON", '{"Layers": ["a", "b\x1fc"]}'])
def test_an_inspector_that_tells_nothing_stops_nothing(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(cuda.tensorrt().EngineInspector, "get_engine_information", lambda *given: text)
    with opened(1) as backend:
        assert backend.runs.precisions == ()
        check(backend.run(images(1)), 1)


@pytest.mark.parametrize("what", ["Runtime", "Builder"])
def test_tensorrt_that_does_not_start(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, squares: Bundle, what: str
) -> None:
    """As its Python module was seen to answer where CUDA does not start for it."""

    def none(logger: Any) -> Any:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    opened(1).thing.close()
    monkeypatch.setattr(cuda.tensorrt(), what, none)
    with pytest.raises(BackendError, match=r"TensorRT 11\.4\.0\.106 does not start: .*driver"):
        if what == "Runtime":
            open_backend("tensorrt", squares.read_graph(squares.artifact()))
        else:
            opened(1)


def test_a_dla_that_takes_nothing_is_not_told_as_one(
    cache: Path, squares: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    news: list[dict[str, Any]] = []
    order = Order(
        model="squares",
        graph=squares.folder / squares.artifact().file,
        into=tmp_path / "into",
        timing=tmp_path / "timing",
        device=0,
        options=BuildOptions(dla=0),
    )
    with faked(monkeypatch, FAKE_TENSORRT="10.3.0", FAKE_GPU="NVIDIA Orin:8.7"):
        build(order, news.append, threading.Event())
        told = [each["say"] for each in news if "say" in each]
        assert len(told) == 1
        assert re.fullmatch(r"\d+ of \d+ layers can run on the DLA, the GPU runs the rest", told[0])
        monkeypatch.setattr(cuda.tensorrt().IBuilderConfig, "can_run_on_DLA", lambda config, layer: False)
        with pytest.raises(BackendError, match=r"the DLA takes no layer of this graph; .* try without --dla"):
            build(order, news.append, threading.Event())
        with pytest.raises(BackendError, match="asked for DLA core 2, but there are 2, counted from 0: try --dla 0"):
            build(replace(order, options=BuildOptions(dla=2)), news.append, threading.Event())


@pytest.mark.parametrize(
    ("options", "errors", "told"),
    [
        ({}, ["a", "b"], "b; try another --precision or --optimization"),
        ({}, ["No implementation of x", "b"], "No implementation of x; end what else runs on the GPU, for its kernels"),
        ({"workspace_mb": 1}, ["no implementation"], "no implementation; leave out --workspace, for its kernels may"),
        ({"dla": 0}, ["no implementation"], "no implementation; end what else .*; or try .*, or leave out --dla$"),
        ({}, ["OutOfMemory", "b"], "OutOfMemory; try --workspace with less than the GPU has free, a smaller --batch"),
    ],
)
def test_a_build_that_fails_says_what_helps(fake: Any, options: dict[str, Any], errors: list[str], told: str) -> None:
    logger().errors.extend(errors)
    assert re.match(f"TensorRT 11.4 could not build the engine: {told}", _failure("11.4", BuildOptions(**options)))


@pytest.mark.parametrize(
    ("how", "kind", "raises"),
    [
        ({"device": "cpu"}, RequestError, "expected device cuda or cuda:N, got 'cpu'"),
        ({"device": "cuda:x"}, RequestError, "got 'cuda:x'"),
        ({"device": "cuda:7"}, BackendError, "asked for cuda:7, but there is one GPU, counted from 0"),
        ({"options": {"cuda_grahp": True}}, UnknownName, "no option of tensorrt is called 'cuda_grahp'"),
        ({"options": {"cuda_graph": 1}}, RequestError, "cuda_graph as true or false, got 1"),
        ({}, NotCompiled, "was not compiled on this machine yet"),
    ],
)
def test_a_wrong_request(fake: Any, squares: Bundle, how: dict[str, Any], kind: type[Exception], raises: str) -> None:
    with pytest.raises(kind, match=raises):
        open_backend("tensorrt", squares.read_graph(squares.artifact()), **how)


def test_the_engine_says_which_command_comes_first(fake: Any, squares: Bundle) -> None:
    with pytest.raises(NotCompiled) as caught:
        Engine(squares, backend="tensorrt")
    assert str(caught.value) == (
        "squares fp32: this graph was not compiled on this machine yet; run once: edgezoo compile "
        f"{squares.folder} --precision fp32"
    )


def test_after_an_update_it_says_what_changed_and_how_it_was_compiled(
    fake: Any, squares: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    edgezoo.compile(squares, precision="fp32", batch=(1, 2, 4), optimization=5)
    monkeypatch.setenv("FAKE_DRIVER", "13020")
    with pytest.raises(NotCompiled) as caught:
        Engine(squares, backend="tensorrt")
    assert str(caught.value) == (
        "squares fp32: CUDA was 13.1, here is 13.2; run once: edgezoo compile "
        f"{squares.folder} --precision fp32 --batch 1:2:4 --optimization 5"
    )


@pytest.mark.parametrize(("batch", "pictures"), [(1, 3), (2, 3), ((1, 2, 4), 6), ((3, 3, 4), 2)])
def test_an_engine_splits_and_fills_batches(
    fake: Any, squares: Bundle, tmp_path: Path, batch: Any, pictures: int
) -> None:
    compile_here(squares, tmp_path, batch)
    with Engine(squares, backend="tensorrt") as engine, Engine(squares) as reference:
        scenes = list(images(pictures)["images"])
        for found, wanted in zip(engine(scenes), reference(scenes), strict=True):
            np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=1e-3)
            assert found.class_ids.tolist() == wanted.class_ids.tolist()
        told = json.loads(json.dumps(engine.describe()))
        assert (told["backend"], told["device"], told["precisions"]) == ("tensorrt", "cuda:0", ["fp32"])


def test_a_pipeline_over_it(fake: Any, squares: Bundle) -> None:
    edgezoo.compile(squares, precision="fp32", batch=(1, 2, 2))
    with Engine(squares, backend="tensorrt") as engine:
        with edgezoo.Pipeline("synthetic:#frames=7&live=0", engine, batch=2) as pipeline:
            assert len(list(pipeline)) == 7
        with pytest.raises(RequestError, match="a batch of at most 2"):
            edgezoo.Pipeline("synthetic:#frames=7&live=0", engine, batch=3)


@pytest.mark.parametrize(
    ("environment", "kind", "raises"),
    [
        ({"FAKE_CUDA": "none"}, BackendError, r"TensorRT 11.4.0.106 needs an NVIDIA GPU: .*driver"),
        ({"FAKE_CUDA": "unloadable", "FAKE_CUDA_PYTHON": "old"}, BackendError, "needs an NVIDIA GPU: .*driver"),
        ({"FAKE_CUDA": "nodevice"}, BackendError, r"TensorRT 11.4.0.106 needs an NVIDIA GPU: "),
    ],
)
def test_what_is_missing_is_told(
    cache: Path,
    squares: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    kind: type[Exception],
    raises: str,
) -> None:
    graph = squares.read_graph(squares.artifact())
    with faked(monkeypatch, **environment):
        for attempt in (lambda: open_backend("tensorrt", graph), lambda: edgezoo.compile(squares)):
            with pytest.raises(kind, match=raises):
                attempt()


def test_a_tensorrt_that_is_too_old(fake: Any, squares: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.tensorrt(), "__version__", "8.5.2.2")
    with pytest.raises(BackendError, match=r"expected TensorRT 8\.6 or newer, got 8\.5\.2\.2"):
        open_backend("tensorrt", squares.read_graph(squares.artifact()))


def test_without_the_library(cache: Path, squares: Bundle) -> None:
    graph = squares.read_graph(squares.artifact())
    for attempt in (lambda: open_backend("tensorrt", graph), lambda: edgezoo.compile(squares)):
        with pytest.raises(
            MissingDependency, match=r'tensorrt is not installed; try: pip install "edgezoo\[tensorrt\]"'
        ):
            attempt()


def test_cuda_python_before_12_6(cache: Path, squares: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    with faked(monkeypatch, FAKE_CUDA_PYTHON="old", FAKE_TENSORRT="8.6.2"):
        edgezoo.compile(squares, precision="fp32")
        with closing(open_backend("tensorrt", squares.read_graph(squares.artifact()))) as backend:
            check(backend.run(images(1)), 1)


def test_a_graph_that_does_not_parse(fake: Any, tmp_path: Path, bundle_of: BundleOf) -> None:
    from edgezoo.backends.tensorrt.compiling import compile_graph

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("x", "y")]
    node = helper.make_node("UnknownThing", ["x"], ["y"], name="the/culprit")
    graph = helper.make_graph([node], "bad", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(
        BackendError,
        match=r"does not read UnknownThing the/culprit: .*`edgezoo compile bad --precision fp32 --check 11.4`",
    ):
        compile_graph(
            model.SerializeToString(), called="bad", artifact="fp32", here=cuda.facts(0), options=BuildOptions()
        )


@pytest.mark.parametrize("version", ["8.6.2"], indirect=True)
def test_the_oldest_is_not_given_what_it_reads_wrongly(fake: Any, squares: Bundle, tmp_path: Path) -> None:
    model = onnx.load(squares.folder / squares.artifact().file)
    model.opset_import[0].version = 18
    onnx.save(model, tmp_path / "newer.onnx")
    paths = {"graph": tmp_path / "newer.onnx", "into": tmp_path / "into", "timing": tmp_path / "t"}
    order = Order(model="newer", device=0, options=BuildOptions(), **paths)
    with pytest.raises(BackendError, match=r"TensorRT 8\.6\.2 does not read the graph: opset 18; .* up to 17"):
        build(order, lambda news: None, threading.Event())


@pytest.mark.parametrize("number", [0, 1])
def test_a_second_gpu(
    cache: Path, squares: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with faked(monkeypatch, FAKE_GPU="NVIDIA A:8.6;NVIDIA B:8.9"):
        assert cuda.facts(number).gpu == f"NVIDIA {'AB'[number]}"
        compile_here(squares, tmp_path, device=f"cuda:{number}")
        graph = squares.read_graph(squares.artifact())
        backend: Backend
        with closing(open_backend("tensorrt", graph, device=f"cuda:{number}")) as backend:
            assert backend.runs.device == f"cuda:{number}"
        with pytest.raises(NotCompiled, match="the GPU was NVIDIA"):
            open_backend("tensorrt", graph, device=f"cuda:{1 - number}")
