"""ONNX Runtime's way to a GPU, as far as it can be walked without one: I/O binding over the CPU's own memory, CUDA
graphs and captures over a session that only says that it is on a GPU, and libraries that are missing for real.

What this cannot prove is done by `tests/gpu` on a machine that has one.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgezoo.backends import _nvidia, open_backend
from edgezoo.backends.onnxruntime import _MOST_THREADS, OnnxRuntimeBackend, binding, libraries, opening
from edgezoo.bundle import Bundle
from edgezoo.errors import BackendError, RequestError, UnknownName
from edgezoo.preprocess import Preprocess

RECIPE = Preprocess(size_wh=(64, 48), fit="stretch")
BOUND: dict[str, Any] = {"io_binding": True}


@pytest.fixture(scope="module")
def graph(bundle_of: Callable[..., Bundle]) -> bytes:
    bundle = bundle_of("squares", RECIPE)
    return bundle.read_graph(bundle.artifact())


def images(n: int, *, seed: int = 0) -> dict[str, Any]:
    return {"images": np.random.default_rng(seed).integers(0, 256, (n, 48, 64, 3), np.uint8)}


def opened(graph: bytes, *, device: str = "cpu", **options: Any) -> Any:
    return open_backend("onnxruntime", graph, device=device, options=options)


def mixed(kind: int) -> bytes:
    """From x (N, 4) of any type: itself, and its sum with itself as float32; and a constant of no batch."""
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["f", "f"], ["twice"]),
        helper.make_node("ReduceMean", ["f"], ["mean"], axes=[0], keepdims=0),
    ]
    sizes = {"x": ["N", 4], "same": ["N", 4], "twice": ["N", 4], "mean": [4]}
    kinds = {"x": kind, "same": kind, "twice": TensorProto.FLOAT, "mean": TensorProto.FLOAT}
    ports = {name: helper.make_tensor_value_info(name, kinds[name], sizes[name]) for name in sizes}
    made = helper.make_graph(nodes, "mixed", [ports["x"]], [ports[name] for name in ("same", "twice", "mean")])
    return saved(made)


def saved(graph: Any) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


# I/O binding, over memory of the CPU.


@pytest.mark.parametrize("kind", ["FLOAT", "FLOAT16", "DOUBLE", "UINT8", "INT8", "INT32", "INT64", "BOOL"])
def test_bound_runs_answer_like_plain_ones(kind: str) -> None:
    made = mixed(getattr(TensorProto, kind))
    bound, plain = opened(made, **BOUND), opened(made)
    dtype = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind))
    for n in (1, 3, 1, 8, 3):
        x = np.random.default_rng(n).integers(0, 2, (n, 4)).astype(dtype)
        assert bound.bound({"x": x}) is not None
        found, wanted = bound.run({"x": x}), plain.run({"x": x})
        assert list(found) == list(wanted) == ["same", "twice", "mean"]
        for name in wanted:
            np.testing.assert_array_equal(found[name], wanted[name])
            assert found[name].dtype == wanted[name].dtype


def test_memory_is_made_once_for_each_of_the_first_sizes(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, plain, made = opened(graph, **BOUND), opened(graph), []
    real = onnxruntime.OrtValue.ortvalue_from_shape_and_type
    monkeypatch.setattr(
        onnxruntime.OrtValue, "ortvalue_from_shape_and_type", lambda *how: made.append(how) or real(*how)
    )
    sizes = [1, 8, 3, *range(1, binding._MOST + 4), 1, 8]
    for k, n in enumerate(sizes):
        feeds = images(n, seed=k)
        for name, value in plain.run(feeds).items():
            np.testing.assert_array_equal(backend.run(feeds)[name], value)
    assert len(made) == 3 * binding._MOST  # one input and two outputs each
    assert {how[2:] for how in made} == {("cpu", 0)}
    assert backend.bound(images(binding._MOST + 3)) is None


def test_nothing_is_made_in_the_hot_path(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = opened(graph, **BOUND)
    backend.run(images(2))
    for name in ("OrtValue", "IOBinding", "RunOptions"):
        monkeypatch.setattr(onnxruntime, name, None)
    monkeypatch.setattr(backend._session, "io_binding", None)
    backend.run(images(2))


def test_bound_answers_own_their_memory(graph: bytes) -> None:
    backend = opened(graph, **BOUND)
    first = backend.run(images(2))
    kept = {name: value.copy() for name, value in first.items()}
    assert all(value.flags.owndata and value.flags.writeable for value in first.values())
    backend.run(images(2, seed=1))
    backend.close()
    for name, value in first.items():
        np.testing.assert_array_equal(value, kept[name])


def test_bound_inputs_are_not_kept(graph: bytes) -> None:
    backend = opened(graph, **BOUND)
    feeds = images(2)
    before = sys.getrefcount(feeds["images"])
    wanted = backend.run(feeds)
    after = sys.getrefcount(feeds["images"])
    assert after == before
    feeds["images"][:] = 0
    again = backend.run(images(2))
    for name, value in wanted.items():
        np.testing.assert_array_equal(again[name], value)


def test_views_and_what_may_not_be_written_to_are_bound_too(graph: bytes) -> None:
    backend, feeds = opened(graph, **BOUND), images(4)
    wanted = opened(graph).run({"images": feeds["images"][::2].copy()})
    feeds["images"].flags.writeable = False
    for name, value in backend.run({"images": feeds["images"][::2]}).items():
        np.testing.assert_array_equal(value, wanted[name])


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"pictures": np.zeros((1, 48, 64, 3), np.uint8)},
        {"images": np.zeros((1, 64, 48, 3), np.uint8)},  # as many values
        {"images": np.zeros((48, 64, 3), np.uint8)},
        {"images": np.zeros((1, 48, 64, 3), np.float32)},
        {"images": np.zeros((0, 48, 64, 3), np.float32)},
        {"images": "text"},
        {**images(1), "more": np.zeros(1)},
    ],
    ids=range(8),
)
def test_wrong_feeds_are_told_as_without(graph: bytes, feeds: Any) -> None:
    bound, plain = opened(graph, **BOUND), opened(graph)
    bound.run(images(1))
    told = []
    for backend in (bound, plain):
        with pytest.raises(BackendError) as caught:
            backend.run(feeds)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert len(bound.run(images(1))["boxes"]) == 1  # and it still works


def test_a_fixed_batch_is_bound_too(bundle_of: Callable[..., Bundle]) -> None:
    bundle = bundle_of("squares", RECIPE, batch=2)
    backend = opened(bundle.read_graph(bundle.artifact()), **BOUND)
    assert backend.bound(images(2)) is not None
    assert backend.run(images(2))["boxes"].shape == (2, 1, 4)
    with pytest.raises(BackendError):
        backend.run(images(1))


@pytest.mark.parametrize("names", [["M", 4], ["?", 4], [None, 4]])
def test_answers_of_a_size_that_only_running_tells_are_not_bound(names: list[Any]) -> None:
    """The graph does not call it by the name of an input's; here the rows that are not zero."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, names)
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["s"], keepdims=0),
        helper.make_node("Cast", ["s"], ["lit"], to=TensorProto.BOOL),
        helper.make_node("Compress", ["x", "lit"], ["y"], axis=0),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    backend = opened(saved(helper.make_graph(nodes, "rows", [x], [y], [axes])), **BOUND)
    feeds = {"x": np.array([[0] * 4, [1] * 4, [0] * 4], np.float32)}
    assert backend.bound(feeds) is None
    assert backend.run(feeds)["y"].tolist() == [[1] * 4]


def test_inputs_that_should_be_of_one_size_and_are_not() -> None:
    x, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in "xyz")
    made = saved(helper.make_graph([helper.make_node("Add", ["x", "y"], ["z"])], "sum", [x, y], [z]))
    one, two = np.ones((1, 2), np.float32), np.ones((2, 2), np.float32)
    backend = opened(made, **BOUND)
    assert backend.bound({"x": two, "y": two}) is not None
    assert backend.bound({"x": one, "y": two}) is None
    assert backend.run({"x": one, "y": two})["z"].tolist() == opened(made).run({"x": one, "y": two})["z"].tolist()


def test_many_threads_one_after_another(graph: bytes) -> None:
    backend, plain = opened(graph, **BOUND), opened(graph)
    for k in range(12):
        feeds, found = images(1 + k % 3, seed=k), []
        thread = threading.Thread(target=lambda: found.append(backend.run(feeds)))  # noqa: B023
        thread.start()
        thread.join()
        for name, value in plain.run(feeds).items():
            np.testing.assert_array_equal(found[0][name], value)


def test_two_threads_at_once_wait_for_each_other(graph: bytes) -> None:
    """One at a time is the rule; who breaks it gets the right answers all the same."""
    backend, plain = opened(graph, **BOUND), opened(graph)
    feeds = [images(2, seed=k) for k in range(60)]
    with ThreadPoolExecutor(3) as pool:
        for each, found in zip(feeds, pool.map(backend.run, feeds)):
            np.testing.assert_array_equal(found["scores"], plain.run(each)["scores"])


def test_forks_have_memory_of_their_own(graph: bytes) -> None:
    first, plain = opened(graph, **BOUND), opened(graph)
    second = first.fork(threads=1)
    assert second.runs.threads == 1
    feeds = [images(2, seed=k) for k in range(40)]
    with ThreadPoolExecutor(2) as pool:
        both = pool.map(lambda backend: [backend.run(each) for each in feeds], (first, second))
    for one, other, each in zip(*both, feeds):
        wanted = plain.run(each)
        for name in wanted:
            np.testing.assert_array_equal(one[name], wanted[name])
            np.testing.assert_array_equal(other[name], wanted[name])
    first.close()
    assert second.run(images(1))["boxes"].shape == (1, 1, 4)


@pytest.mark.parametrize(
    ("device", "options", "kind", "told"),
    [
        ("cpu", {"io_binding": 1}, RequestError, "expected the option io_binding as true or false, got 1"),
        ("cpu", {"cuda_graph": "yes"}, RequestError, "expected the option cuda_graph as true or false, got 'yes'"),
        ("cpu", {"cuda_graph": True}, RequestError, "expected the option cuda_graph with a GPU and io_binding alone"),
        ("cuda", {"cuda_graph": True, "io_binding": False}, RequestError, "with a GPU and io_binding alone"),
        ("cuda", {"cuda_grph": True}, UnknownName, "did you mean 'cuda_graph'"),
    ],
)
def test_wrong_options(graph: bytes, device: str, options: dict[str, Any], kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        opened(graph, device=device, **options)


def test_what_is_on_where() -> None:
    cpu, gpu = opening.read_how("cpu", None, {}), opening.read_how("cuda:3", None, {})
    assert (cpu.gpu, cpu.io_binding, cpu.cuda_graph, cpu.real_device) == (None, False, False, "cpu")
    assert (gpu.gpu, gpu.io_binding, gpu.cuda_graph, gpu.real_device) == (3, True, True, "cuda:3")
    assert opening.read_how("cuda", None, {"io_binding": False}).cuda_graph is False


# CUDA graphs, over sessions of the CPU that say that they are on a GPU.


class Gpu:
    """What such sessions were asked for, and how they behave."""

    def __init__(self) -> None:
        self.refuses = ""
        """What a session says when it is to capture."""
        self.fails = 0
        """So many captures fail."""
        self.opened: list[dict[str, str]] = []
        """The provider's options of each session."""
        self.runs: list[tuple[str, int]] = []
        """The graph's number of each run, and the thread."""
        self.where: set[tuple[str, int]] = set()
        """Where memory was made."""
        self.alone: list[bool] = []
        """Whether each run had CUDA for itself."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    told = Gpu()
    real, make = onnxruntime.InferenceSession, onnxruntime.OrtValue.ortvalue_from_shape_and_type

    class Session(real):  # type: ignore[misc, valid-type]
        def __init__(self, graph: bytes, settings: Any, providers: Any, **more: Any) -> None:
            assert more["enable_fallback"] == 0
            (name, options), *_ = providers
            told.opened.append({"provider": name, **options})
            if told.refuses and "enable_cuda_graph" in options:
                raise RuntimeError(told.refuses)
            self.gpu = name.startswith("CUDA")
            super().__init__(graph, settings, providers=["CPUExecutionProvider"], **more)

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"] if self.gpu else ["CPUExecutionProvider"]

        def run_with_iobinding(self, bound: Any, options: Any = None) -> None:
            self._note(options)
            super().run_with_iobinding(bound, options)

        def run(self, names: Any, feeds: Any, options: Any = None) -> Any:
            self._note(options)
            return super().run(names, feeds, options)

        def _note(self, options: Any) -> None:
            if self.gpu:
                number = options.get_run_config_entry("gpu_graph_id") if options else "none"
                told.runs.append((number, threading.get_ident()))
                told.alone.append(_nvidia.CUDA._claimed)
                if told.fails and told.alone[-1]:
                    told.fails -= 1
                    raise RuntimeError("CUDA failure 900: operation not permitted when stream is capturing")

    def on_gpu(shape: Any, dtype: Any, device: str = "cpu", index: int = 0) -> Any:
        told.where.add((device, index))
        return make(shape, dtype, "cpu", 0)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_shape_and_type", on_gpu)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(libraries, "load", lambda runtime: None)
    monkeypatch.setattr(_nvidia, "missing", lambda *needs, **more: "")
    return told


def same(backend: OnnxRuntimeBackend, graph: bytes, n: int, *, seed: int = 0) -> bool:
    feeds = images(n, seed=seed)
    wanted, found = opened(graph).run(feeds), backend.run(feeds)
    return all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_each_size_has_a_graph_of_its_own(graph: bytes, gpu: Gpu) -> None:
    backend = opened(graph, device="cuda:2")
    assert (backend.graph, backend.no_graph, backend.runs.device) == (True, "", "cuda:2")
    assert gpu.opened == [
        {"provider": "CUDAExecutionProvider", "device_id": "2", "use_tf32": "0", "enable_cuda_graph": "1"}
    ]
    assert all(same(backend, graph, n, seed=k) for k, n in enumerate((1, 8, 1, 1, 8)))
    assert [number for number, _ in gpu.runs] == ["1", "2", "1", "1", "2"]
    assert gpu.alone == [True, True, False, False, False]  # captured, replayed
    assert gpu.where == {("cuda", 2)}


def test_what_is_not_bound_is_not_captured(graph: bytes, gpu: Gpu) -> None:
    backend = opened(graph, device="cuda")
    assert all(same(backend, graph, n) for n in range(1, binding._MOST + 2))
    assert gpu.runs[-1][0] == "-1"
    assert not gpu.alone[-1]
    with pytest.raises(BackendError):
        backend.run({"images": np.zeros((1, 64, 48, 3), np.uint8)})
    assert gpu.runs[-1][0] == "-1"
    assert backend.graph


def test_each_thread_captures_for_itself(graph: bytes, gpu: Gpu) -> None:
    backend = opened(graph, device="cuda")
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        for pool in (first, second, first, second):
            assert pool.submit(same, backend, graph, 1).result()
    assert gpu.alone == [True, True, False, False]


def test_a_crowd_of_threads_runs_without(graph: bytes, gpu: Gpu) -> None:
    """For each would keep its captures, and device memory grow with every one that ever was."""
    backend = opened(graph, device="cuda")
    for k in range(_MOST_THREADS + 3):
        thread = ThreadPoolExecutor(1)
        assert thread.submit(same, backend, graph, 1, seed=k).result()
        thread.shutdown()
    assert not backend.graph
    assert backend.no_graph == f"more than {_MOST_THREADS} threads ran it"
    assert ["enable_cuda_graph" in options for options in gpu.opened if options["provider"][:4] == "CUDA"] == [
        True,
        False,
    ]
    assert gpu.alone == [True] * _MOST_THREADS + [False] * 3


def test_a_capture_that_fails_is_done_without(graph: bytes, gpu: Gpu) -> None:
    backend, gpu.fails = opened(graph, device="cuda"), 1
    assert same(backend, graph, 2)
    assert (backend.graph, backend.runs.device) == (False, "cuda:0")
    assert backend.no_graph.startswith("CUDA failure 900")
    assert gpu.alone == [True, False]
    assert same(backend, graph, 2)


@pytest.mark.parametrize(
    ("refuses", "device"),
    [
        ("as the model has control flow nodes which can't be supported by CUDAExecutionProvider", "cuda:0"),
        ("as all compute graph nodes have not been partitioned to the CUDAExecutionProvider", "cuda:0 and cpu"),
    ],
)
def test_what_cannot_be_captured_runs_without_and_says_so(graph: bytes, gpu: Gpu, refuses: str, device: str) -> None:
    gpu.refuses = f"This session cannot use the graph capture feature as requested by the user {refuses}"
    backend = opened(graph, device="cuda")
    assert (backend.graph, backend.runs.device) == (False, device)
    assert refuses in backend.no_graph
    assert same(backend, graph, 3)
    assert gpu.where == {("cuda", 0)}
    assert str(backend.runs).endswith(f" on {device}")


@pytest.mark.parametrize(("options", "where"), [({"cuda_graph": False}, {("cuda", 0)}), ({"io_binding": False}, set())])
def test_both_can_be_turned_off(graph: bytes, gpu: Gpu, options: dict[str, bool], where: set[Any]) -> None:
    backend = opened(graph, device="cuda", **options)
    assert same(backend, graph, 2)
    assert not backend.graph
    assert not backend.no_graph
    assert gpu.where == where
    assert gpu.alone == [False]
    assert "enable_cuda_graph" not in gpu.opened[0]


def test_two_captures_and_their_neighbours_keep_out_of_each_others_way(graph: bytes, gpu: Gpu) -> None:
    backends = [opened(graph, device="cuda") for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        work = [
            pool.submit(lambda b, k: [b.run(images(1 + n % 3, seed=k)) for n in range(12)], b, k)
            for k, b in enumerate(backends)
        ]
        for each in work:
            each.result()
    assert not any(backend.no_graph for backend in backends)
    assert sum(gpu.alone) >= 9  # three of each
    for backend in backends:
        backend.close()


def test_a_run_that_fails_does_not_go_on_elsewhere(graph: bytes, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime would make itself a session on the CPU, print that, and answer."""
    backend = opened(graph, device="cuda", cuda_graph=False, io_binding=False)
    assert backend._session._enable_fallback is False

    def fail(*what: Any) -> None:
        raise onnxruntime.capi.onnxruntime_pybind11_state.EPFail("the GPU fell off the bus")

    backend._session._sess = SimpleNamespace(run=fail, is_webgpu_graph_capture_enabled=lambda: False)
    with pytest.raises(BackendError, match="fell off the bus"):
        backend.run(images(1))
    assert len(gpu.opened) == 1


def test_close_lets_go_of_the_device(graph: bytes, gpu: Gpu) -> None:
    backend = opened(graph, device="cuda")
    backend.run(images(1))
    backend.close()
    backend.close()
    assert backend.bound(images(1)) is None
    with pytest.raises(BackendError, match="closed"):
        backend.run(images(1))


# Libraries.


def runtime_at(folder: Path) -> Any:
    return SimpleNamespace(__file__=str(folder / "onnxruntime" / "__init__.py"), __version__="1.31.0")


NEEDED = {
    13: ["libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcudart.so.13", "libcuda.so.1", "libc.so.6"],
    12: ["libcublas.so.12", "libcurand.so.10", "libcufft.so.11", "libcudart.so.12", "libcudnn.so.9", "libm.so.6"],
    11: ["libcublas.so.11", "libcudnn.so.8", "libcufft.so.10", "libcudart.so.11.0"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("cuda", "there", "told"),
    [
        (13, "cublasLt cublas curand cudart cudnn", ""),
        (13, "cublasLt cublas curand cudart", 'find libcudnn.so.9; try: pip install "nvidia-cudnn-cu13==9.*"'),
        (
            13,
            "cudart cudnn",
            'find libcublasLt.so.13, libcublas.so.13 and libcurand.so.10; try: pip install "nvidia-cublas==13.*" '
            '"nvidia-curand==10.*"',
        ),
        (12, "cublasLt cublas curand cudart cufft", 'find libcudnn.so.9; try: pip install "nvidia-cudnn-cu12==9.*"'),
        (
            12,
            "cublasLt cublas curand cudnn",
            'find libcufft.so.11 and libcudart.so.12; try: pip install "nvidia-cufft-cu12==11.*" '
            '"nvidia-cuda-runtime-cu12==12.*"',
        ),
        (
            11,
            "cublas cufft",
            'try: pip install "nvidia-cudnn-cu11==8.*" "nvidia-cuda-runtime-cu11==11.*"',
        ),
    ],
)
def test_missing_libraries_are_named_with_their_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cuda: int, there: str, told: str
) -> None:
    def load(name: str) -> None:
        if name.partition(".")[0].removeprefix("lib") not in there.split():
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(libraries, "needed", lambda path: NEEDED[cuda])
    monkeypatch.setattr(libraries.ctypes, "CDLL", load)
    monkeypatch.setattr(_nvidia, "on_jetson", lambda: False)
    found = libraries.missing(runtime_at(tmp_path))
    assert told in found
    assert bool(found) == bool(told)
    assert libraries.cuda_of(runtime_at(tmp_path)) == cuda
    if told:
        with pytest.raises(BackendError, match=re.escape(told)):
            libraries.load(runtime_at(tmp_path))
        monkeypatch.setattr(_nvidia, "on_jetson", lambda: True)
        assert libraries.missing(runtime_at(tmp_path)).endswith("; try: sudo apt install nvidia-jetpack")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("libnvJitLink.so.13: cannot open shared object file: No such file", 'pip install "nvidia-nvjitlink==13.*"'),
        ("libweird.so.2: cannot open shared object file: No such file", 'pip install --upgrade "onnxruntime-gpu[cuda,'),
        ("/x/libcublas.so.13: version `GLIBC_9' not found", 'pip install "nvidia-cublas==13.*"'),
    ],
)
def test_a_library_that_misses_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str, told: str) -> None:
    def load(name: str) -> None:
        raise OSError(reason)

    monkeypatch.setattr(libraries, "needed", lambda path: ["libcublas.so.13"])
    monkeypatch.setattr(libraries.ctypes, "CDLL", load)
    monkeypatch.setattr(_nvidia, "on_jetson", lambda: False)
    assert told in libraries.missing(runtime_at(tmp_path))


def test_the_libraries_of_pip_packages_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded: list[str] = []
    for package, name in (("cu13", "libcublas.so.13"), ("cudnn", "libcudnn.so.9")):
        (tmp_path / "nvidia" / package / "lib").mkdir(parents=True)
        (tmp_path / "nvidia" / package / "lib" / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    monkeypatch.setattr(libraries, "needed", lambda path: ["libcublas.so.13"])
    monkeypatch.setattr(libraries.ctypes, "CDLL", loaded.append)
    runtime = runtime_at(tmp_path)
    runtime.preload_dlls = lambda: loaded.append("its own")
    libraries.load(runtime)
    assert loaded == [
        str(tmp_path / "nvidia/cu13/lib/libcublas.so.13"),
        str(tmp_path / "nvidia/cudnn/lib/libcudnn.so.9"),
        "its own",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="ELF is Linux's")
def test_what_a_library_needs_is_read_from_its_file(tmp_path: Path) -> None:
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("onnxruntime_pybind11_state*.so"))
    found = libraries.needed(library)
    assert {"libc.so.6", "libstdc++.so.6"} <= set(found)
    assert all(re.fullmatch(r"[\w.+-]+\.so[\w.]*", name) for name in found)
    whole = library.read_bytes()
    for text in (b"", b"not a library", whole[:64], whole[:3000], b"\x7fELF\x02\x01" + bytes(100)):
        (tmp_path / "part").write_bytes(text)
        assert libraries.needed(tmp_path / "part") == []
    assert libraries.needed(tmp_path / "none") == libraries.needed(tmp_path) == []


def test_without_its_libraries_cuda_is_refused_with_all_that_is_missing(
    graph: bytes, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack(runtime: Any) -> None:
        raise BackendError("it does not find libcublas.so.13; try: pip install x")

    monkeypatch.setattr(libraries, "load", lack)
    with pytest.raises(BackendError, match=r"^asked for cuda, but it does not find libcublas"):
        opened(graph, device="cuda")
    monkeypatch.setattr(_nvidia, "missing", lambda *needs, **more: "there is no NVIDIA driver")
    with pytest.raises(BackendError, match=r"^asked for cuda, but there is no NVIDIA driver; besides, it does not"):
        opened(graph, device="cuda")
    assert not gpu.opened


def test_a_session_that_does_not_come_up_says_what_is_missing(
    graph: bytes, gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.refuses = "Parse Failed"  # as where the driver sees no GPU
    monkeypatch.setattr(_nvidia, "missing", lambda *needs, **more: "the driver sees no GPU")
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: ["CPUExecutionProvider"])
    with pytest.raises(BackendError, match=r"^asked for cuda, but onnxruntime would run CPU.*: the driver sees no GPU"):
        opened(graph, device="cuda")


def test_its_log_is_quiet_only_meanwhile(graph: bytes, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[int] = []
    monkeypatch.setattr(onnxruntime, "set_default_logger_severity", levels.append)
    gpu.refuses = "no"
    opened(graph, device="cuda")
    opened(graph)
    assert levels == [4, 2] * 2
