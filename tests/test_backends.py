"""The shelf of runtimes: every one keeps the contract, and none falls back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from conftest import OPEN_ANY, need
from onnx import TensorProto, helper

import edgezoo
import edgezoo.backends
from edgezoo.backends import Backend, Port, _nvidia, backends, layers, open_backend
from edgezoo.backends.onnxruntime import libraries
from edgezoo.bundle import Bundle
from edgezoo.errors import BackendError, MissingDependency, RequestError, UnknownName
from edgezoo.machine import cores
from edgezoo.preprocess import Preprocess

RECIPE = Preprocess(size_wh=(64, 48), fit="stretch")
BOX = (8, 6, 40, 30)


@pytest.fixture(params=OPEN_ANY)
def name(request: pytest.FixtureRequest) -> str:
    """Every backend that opens any graph and whose runtime is here."""
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
    here = Path(edgezoo.backends.__file__).parent
    files = {path.stem for path in here.glob("[!_]*.py")} | {init.parent.name for init in here.glob("*/__init__.py")}
    assert backends() == sorted(files)
    assert {"onnxruntime", "openvino", "tensorrt"} <= files


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
    if threads > cores():
        pytest.skip("a runtime need not run more threads than there are cores")
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


def test_what_may_not_be_written_to_is_fed_like_the_rest(backend: Backend) -> None:
    feeds = images(2)
    feeds["images"].flags.writeable = False
    assert backend.run(feeds)["boxes"][0].tolist() == [list(BOX)]


@pytest.mark.parametrize("n", [1, 2])
def test_answers_have_the_names_of_the_graph(name: str, n: int) -> None:
    """Also where several of them are one tensor, and where one is an input."""
    backend = open_backend(name, many_names())
    x = np.tile(np.array([[1, -2, 3, -4]], np.float32), (n, 1))
    y = 10 * np.ones_like(x)
    answers = backend.run({"y": y, "x": x})
    assert [port.name for port in backend.inputs] == ["x", "y"]
    assert [port.name for port in backend.outputs] == list(answers) == ["c", "b", "a", "r", "same"]
    lit = np.maximum(x, 0)
    for told, value in {"a": lit, "b": lit, "r": lit, "c": lit - y, "same": x}.items():
        np.testing.assert_array_equal(answers[told], value, told)
    x[:] = 7  # what the runtime only passed on is a copy too
    assert answers["same"][0].tolist() == [1, -2, 3, -4]


def many_names() -> bytes:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Identity", ["r"], ["b"]),
        helper.make_node("Identity", ["r"], ["a"]),
        helper.make_node("Sub", ["r", "y"], ["c"]),
        helper.make_node("Identity", ["x"], ["same"]),
    ]
    ports = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xycbar"}
    same = helper.make_tensor_value_info("same", TensorProto.FLOAT, ["N", 4])
    inputs, outputs = [ports["x"], ports["y"]], [*(ports[name] for name in "cbar"), same]
    graph = helper.make_graph(nodes, "names", inputs, outputs)
    made: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return made


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


@pytest.mark.parametrize("n", [1, 2])
def test_layers_are_told_as_they_run(name: str, graph: bytes, n: int) -> None:
    found = layers(name, graph, images(n), threads=1, runs=3)
    assert all(layer.name and layer.kind and layer.ms >= 0 for layer in found)
    assert sum(layer.ms for layer in found) > 0
    computing = [layer.precision for layer in found if not layer.conversion]
    assert "fp32" in computing
    assert set(computing) <= {"fp32", "int64", "int32", "bool"}
    assert any(layer.conversion for layer in found)  # the door's, at least


def test_layers_of_what_cannot_run(name: str, graph: bytes) -> None:
    for feeds in ({}, {"images": np.zeros((1, 64, 48, 3), np.uint8)}):
        with pytest.raises(BackendError, match=r": \S.{10}") as caught:
            layers(name, graph, feeds)
        assert "\n" not in str(caught.value)
    with pytest.raises(BackendError):
        layers(name, b"not a graph", images(1))
    with pytest.raises(RequestError, match="expected 1 run or more, got 0"):
        layers(name, graph, images(1), runs=0)
    with pytest.raises(RequestError, match="expected 1 thread or more, got 0"):
        layers(name, graph, images(1), threads=0)
    with pytest.raises(RequestError, match="expected device"):
        layers(name, graph, images(1), device="gpu")
    with pytest.raises(UnknownName, match=r"no option of .* is called 'spni'"):
        layers(name, graph, images(1), options={"spni": True})


def test_a_runtime_that_is_none(graph: bytes) -> None:
    with pytest.raises(UnknownName, match="no backend is called 'onnxruntim'; did you mean 'onnxruntime'"):
        open_backend("onnxruntim", graph)


@pytest.mark.parametrize(("runtime", "extra"), [("onnxruntime", "cpu"), ("openvino", "openvino")])
def test_a_runtime_that_is_not_installed(
    graph: bytes, monkeypatch: pytest.MonkeyPatch, runtime: str, extra: str
) -> None:
    monkeypatch.setattr(f"edgezoo.backends.{runtime}.require", _absent)
    with pytest.raises(MissingDependency, match=rf'{runtime} is not installed; try: pip install "edgezoo\[{extra}\]"'):
        open_backend(runtime, graph)


def _absent(module: str) -> None:
    from edgezoo.optional import EXTRA_OF

    raise MissingDependency(f'{module} is not installed; try: pip install "edgezoo[{EXTRA_OF[module]}]"')


def test_every_runtime_finds_the_same(name: str) -> None:
    """The built-in model, to what its next digit could not tell apart."""
    with edgezoo.load("digits", score=0.1) as reference, edgezoo.load("digits", backend=name, score=0.1) as engine:
        golden = reference.bundle.read_golden()
        photos = [array for key, array in golden.items() if key.startswith("image_")]
        for expected, found in zip(reference(photos), engine(photos), strict=True):
            assert len(expected) > 0
            np.testing.assert_array_equal(found.class_ids, expected.class_ids)
            np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=1e-3)
            np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


# ONNX Runtime's own.


def no_cuda() -> str:
    """Why ONNX Runtime cannot run on CUDA here; empty where it can."""
    runtime = pytest.importorskip("onnxruntime")
    built = "CUDAExecutionProvider" in runtime.get_available_providers()
    return (libraries.missing(runtime) or _nvidia.missing()) if built else "this onnxruntime has no CUDA"


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_asked_for_cuda_without_it(graph: bytes, device: str) -> None:
    if not (why := no_cuda()):
        pytest.skip("this machine has CUDA")
    with pytest.raises(BackendError) as caught:
        open_backend("onnxruntime", graph, device=device)
    told = str(caught.value)
    assert told.startswith(f"asked for {device}, but ")
    assert "\n" not in told
    if why == "this onnxruntime has no CUDA":
        assert "but this onnxruntime has only" in told
        assert 'pip install "edgezoo[gpu]"' in told
    else:
        assert why in told


def test_asked_for_cuda_where_it_is(graph: bytes) -> None:
    need("cuda", not (why := no_cuda()), why)
    backend = open_backend("onnxruntime", graph, device="cuda")
    assert backend.runs.device == "cuda:0"
    assert backend.run(images(2))["boxes"][0].tolist() == [list(BOX)]


def test_a_provider_that_falls_back_is_found_out(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the CUDA libraries do not load: the session opens, on the CPU, without an error."""
    runtime = pytest.importorskip("onnxruntime")
    real = runtime.InferenceSession

    def on_cpu(graph: bytes, settings: Any, providers: Any, **more: Any) -> Any:
        return real(graph, settings, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(runtime, "InferenceSession", on_cpu)
    monkeypatch.setattr(runtime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(BackendError, match="asked for cuda, but onnxruntime would run CPUExecutionProvider"):
        open_backend("onnxruntime", graph, device="cuda")


@pytest.mark.parametrize("spin", ["abc", 0, None, [1]])
def test_spinning_is_on_or_off(graph: bytes, spin: Any) -> None:
    with pytest.raises(RequestError, match="onnxruntime: expected the option spin as true or false, got "):
        open_backend("onnxruntime", graph, options={"spin": spin})


def test_spinning_can_be_turned_off(graph: bytes) -> None:
    backend = open_backend("onnxruntime", graph, options={"spin": False})
    assert backend.run(images(1))["boxes"].tolist() == [[list(BOX)]]


# OpenVINO's own.


@pytest.fixture
def openvino() -> Any:
    """The backend's module."""
    from edgezoo.backends import openvino

    try:
        openvino.capabilities()
    except MissingDependency as error:
        need("openvino", False, str(error))
    return openvino


def has_bf16() -> bool:
    from edgezoo.backends.openvino import capabilities

    return "BF16" in capabilities()


def compiled(backend: Any) -> list[Any]:
    return [request.get_compiled_model() for request in backend._compiled.values()]


def precise() -> bytes:
    """y = x * w: whether bf16, of eight bits, computed it, is seen in its answer."""
    net = graphs.Net()
    net.add("MatMul", "pixels", net.constant(np.full((64, 64), 1.001)), out="y")
    made: bytes = net.model(["N", 64], {"y": ["N", 64]}).SerializeToString()
    return made


@pytest.mark.parametrize(
    ("options", "hint", "exact"),
    [({}, "f32", True), ({"precision": "f32"}, "f32", True), ({"precision": "bf16"}, "bf16", False)],
)
def test_precision_is_what_was_asked_for(openvino: Any, options: dict[str, Any], hint: str, exact: bool) -> None:
    """Left alone, OpenVINO would run bf16 in all three cases on a CPU that has it."""
    if hint == "bf16":
        need("bf16", has_bf16(), "this CPU has no bf16")
    backend = open_backend("openvino", precise(), options=options)
    rows = np.full((3, 64), 1.001, np.float32)
    answer = backend.run({"pixels": rows})["y"]
    assert [model.get_property("INFERENCE_PRECISION_HINT").get_type_name() for model in compiled(backend)] == [hint] * 2
    assert np.allclose(answer, 64 * 1.001**2, rtol=1e-6) == exact
    np.testing.assert_allclose(answer, 64 * 1.001**2, rtol=1e-2)


def test_bf16_without_it(openvino: Any, graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    library = openvino._runtime()
    monkeypatch.setattr(library.Core, "get_property", lambda self, device, name: ["FP32", "INT8"])
    with pytest.raises(BackendError, match="asked for bf16, but on this CPU OpenVINO has only FP32, INT8; try another"):
        open_backend("openvino", graph, options={"precision": "bf16"})
    open_backend("openvino", graph).close()


def test_a_precision_that_was_not_taken_is_found_out(
    openvino: Any, graph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("bf16", has_bf16(), "this CPU has no bf16, so that nothing else than f32 can be set")
    real = openvino._settings

    def ignored(precision: str, threads: int | None) -> dict[str, Any]:
        return {**real(precision, threads), "INFERENCE_PRECISION_HINT": "bf16"}

    monkeypatch.setattr(openvino, "_settings", ignored)
    with pytest.raises(BackendError, match="asked for f32, but OpenVINO would run bf16"):
        open_backend("openvino", graph)


@pytest.mark.parametrize(
    ("how", "raises"),
    [
        ({"device": "cuda"}, "expected device cpu, got 'cuda'"),
        ({"device": "cpu:0"}, "expected device cpu, got 'cpu:0'"),
        ({"options": {"precision": "fp32"}}, "expected precision f32 or bf16, got 'fp32'"),
        ({"options": {"precision": ["f32"]}}, "expected precision f32 or bf16, got "),
        ({"options": {"precison": "f32"}}, "no option of openvino is called 'precison'; did you mean 'precision'"),
    ],
)
def test_what_openvino_is_not_asked(openvino: Any, graph: bytes, how: dict[str, Any], raises: str) -> None:
    with pytest.raises(RequestError, match=raises):
        open_backend("openvino", graph, **how)


def test_an_operator_that_openvino_does_not_know(openvino: Any) -> None:
    net = graphs.Net()
    net.add("Telepathy", "pixels", out="y")
    with pytest.raises(BackendError, match=r"could not open the graph: .*Telepathy") as caught:
        open_backend("openvino", net.model(["N", 4], {"y": ["N", 4]}).SerializeToString())
    assert not [part for part in ("\n", "Exception from", ".cpp", "http") if part in str(caught.value)]


def test_many_batch_sizes_are_few_compiled_graphs(openvino: Any, graph: bytes) -> None:
    backend: Any = open_backend("openvino", graph)
    assert len(compiled(backend)) == 1
    for n in (1, 2, 5, 3, 4, 6, 7, 2, 8, 1, 9, 40):
        boxes = backend.run({"images": images(1)["images"].repeat(n, axis=0)})["boxes"]
        assert boxes.tolist() == [[list(BOX)]] * n
    assert len(compiled(backend)) == openvino._MOST_STATIC + 1
    assert {model.get_property("INFERENCE_PRECISION_HINT").get_type_name() for model in compiled(backend)} == {"f32"}


def test_a_size_that_only_claims_to_be_free(openvino: Any) -> None:
    """A graph that says N and holds a Reshape to 1: the runtime's own error, in one line."""
    model = graphs.square_finder(RECIPE, frozen=True)
    backend = open_backend("openvino", model.SerializeToString())
    width, height = RECIPE.size_wh
    one = np.zeros((1, 3, height, width), np.float32)
    assert backend.run({"pixels": one})["boxes"].shape == (1, 1, 4)
    with pytest.raises(BackendError, match=r"openvino failed: .*Reshape") as caught:
        backend.run({"pixels": one.repeat(2, axis=0)})
    assert "\n" not in str(caught.value)
    assert backend.run({"pixels": one})["boxes"].shape == (1, 1, 4)


def test_engines_of_one_thread_share_no_core(openvino: Any, graph: bytes) -> None:
    """Pinned, both would run on the first core, in turns."""
    engines: list[Any] = [open_backend("openvino", graph, threads=1) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(lambda one: [one.run(images(n)) for n in (1, 2, 3) * 20], one) for one in engines]
        found = [[answer["boxes"][-1, 0].tolist() for answer in job.result()] for job in jobs]
    assert found == [[[side + n - 1 for side in BOX] for n in (1, 2, 3) * 20]] * 2
    for model in (model for one in engines for model in compiled(one)):
        assert model.get_property("ENABLE_CPU_PINNING") is False
        assert model.get_property("INFERENCE_NUM_THREADS") == model.get_property("NUM_STREAMS") == 1


def test_engines_are_opened_at_once(openvino: Any, graph: bytes) -> None:
    """As a pipeline's workers do, each in its own thread."""
    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(lambda _: open_backend("openvino", graph, threads=1), range(32)))
    assert {engine.runs.threads for engine in engines} == {1}


def test_openvino_runs_alone_and_calls_nobody(openvino: Any, tmp_path: Path) -> None:
    """No other runtime is loaded; its telemetry neither, which would write into the home and open a connection."""
    code = (
        "import edgezoo, numpy, socket, sys\n"
        "def called(*where): raise AssertionError(f'it calls {where}')\n"
        "socket.getaddrinfo = socket.socket.connect = called\n"
        "with edgezoo.load('digits', backend='openvino') as engine:\n"
        "    engine(numpy.zeros((480, 640, 3), numpy.uint8))\n"
        "assert not {'onnxruntime', 'torch', 'openvino_telemetry'} & set(sys.modules), sorted(sys.modules)\n"
        "import openvino_telemetry\n"  # whoever asks for it afterwards has it
    )
    quiet = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    home = {**quiet, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
    assert list(tmp_path.iterdir()) == []
