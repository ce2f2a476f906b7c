"""The fake TensorRT itself: that it computes, refuses what is wrong, and differs as the versions do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_modules import FAKES, NEWEST, VERSIONS, faked
from fake_parts import built, graph, logger, told_to

at = pytest.mark.parametrize


@pytest.fixture
def version(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", NEWEST))


@pytest.fixture(autouse=True)
def fakes(version: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with faked(monkeypatch, FAKE_TENSORRT=version):
        yield


# Names.


@at(
    ("version", "there", "missing"),
    [
        ("8.6.0", ["BuilderFlag.FP16"], ["OnnxParserFlag", "IProgressMonitor", "OnnxParser.set_flag"]),
        ("8.6.2", ["BuilderFlag.INT8", "OnnxParserFlag", "ILayer.precision"], ["IBuilderConfig.progress_monitor"]),
        ("10.3.0", ["IProgressMonitor", "BuilderFlag.FP16", "ParserError.node_name"], ["DataType.FP4"]),
        ("10.13.2.6", ["HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY"], ["ICudaEngine.num_bindings"]),
        (NEWEST, ["IProgressMonitor"], ["BuilderFlag.FP16", "ILayer.precision", "Builder.platform_has_fast_fp16"]),
    ],
    indirect=["version"],
)
def test_names_come_and_go_with_versions(there: list[str], missing: list[str]) -> None:
    import tensorrt as trt

    def has(path: str) -> bool:
        kind, _, name = path.partition(".")
        return hasattr(trt, kind) and (not name or hasattr(getattr(trt, kind), name))

    assert [name for name in there if not has(name)] == []
    assert [name for name in missing if has(name)] == []


def test_a_version_that_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    with faked(monkeypatch, FAKE_TENSORRT="9.9.9"), pytest.raises(ImportError, match=r"9\.9\.9: there are .*10\.3\.0"):
        import tensorrt  # noqa: F401


def test_objects_are_as_strict_as_nvidias() -> None:
    import tensorrt as trt

    engine = built(graph())
    config = told_to(graph())[2]
    with pytest.raises(AttributeError, match="no attribute 'max_workspace_size'"):
        config.max_workspace_size = 1
    with pytest.raises(AttributeError):
        trt.Builder(logger()[0]).num_DLA_cores = 3
    with pytest.raises(TypeError):
        config.progress_monitor = object()
    with pytest.raises(TypeError):
        len(engine)
    assert bytes(engine) == bytes(memoryview(engine))
    assert engine.nbytes == len(bytes(engine))
    assert trt.DataType.FLOAT != 0
    with pytest.raises(TypeError):
        1 << trt.BuilderFlag.TF32

    class Forgets(trt.ILogger):
        def __init__(self) -> None: ...

    with pytest.raises(TypeError, match=r"ILogger\.__init__\(\) must be called"):
        Forgets()


# Parsing and building.


@at("version", VERSIONS, indirect=True)
@at(
    ("serialized", "code", "node", "operator"),
    [
        (b"no graph", "MODEL_DESERIALIZE_FAILED", "", ""),
        (graph(operator="UnknownThing"), "UNSUPPORTED_NODE", "double", "UnknownThing"),
        (graph(opset=26), "UNSUPPORTED_NODE", "cast", "Cast"),
        (graph(operator="Sqrt"), "INVALID_GRAPH", "", ""),
    ],
)
def test_what_the_parser_refuses(version: str, serialized: bytes, code: str, node: str, operator: str) -> None:
    parser, said = told_to(serialized)[3:]
    assert parser.num_errors == 1
    error = parser.get_error(0)
    assert error.code().name == code
    assert said
    if not version.startswith("8"):
        assert (error.node_name(), error.node_operator()) == (node, operator)


@at(
    ("version", "settings", "says"),
    [
        ("8.6.2", {"network": []}, "explicit batch"),
        ("8.6.2", {"ranges": None}, "no optimization profile"),
        ("8.6.2", {"half": True}, "fp16 is not configured in the builder"),
        ("8.6.2", {"half": True, "flags": ["FP16"]}, ""),
        ("10.3.0", {"half": True}, "fp16 is not configured in the builder"),
        ("10.3.0", {"half": True, "network": ["STRONGLY_TYPED"]}, ""),
        ("10.3.0", {"half": True, "network": ["STRONGLY_TYPED"], "flags": ["FP16"]}, "strongly typed"),
        (NEWEST, {"half": True}, ""),
        (NEWEST, {"ranges": ((1,), (1,), (1,)), "dynamic": False}, ""),
        (NEWEST, {"ranges": ((2,), (2,), (2,)), "dynamic": False}, "profile"),
    ],
    indirect=["version"],
)
def test_what_the_builder_refuses(settings: dict[str, Any], says: str) -> None:
    of_graph = {name: settings.pop(name) for name in ("half", "dynamic") if name in settings}
    builder, network, config, _, said = told_to(graph(**of_graph), **settings)
    engine = builder.build_serialized_network(network, config)
    assert (engine is None) == bool(says)
    assert says in " ".join(said)


@at(("asked", "says"), [("build", "Error Code 10"), ("memory", "OutOfMemory"), ("parse", "FAKE_TENSORRT_FAIL")])
def test_failures_on_demand(monkeypatch: pytest.MonkeyPatch, asked: str, says: str) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_FAIL", asked)
    builder, network, config, parser, said = told_to(graph())
    assert parser.num_errors == (asked == "parse")
    assert builder.build_serialized_network(network, config) is None
    assert any(says in line for line in said)


def monitor(stops_after: int = 10**6) -> Any:
    import tensorrt as trt

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.heard: list[Any] = []

        def phase_start(self, phase_name: str, parent_phase: Any, num_steps: int) -> None:
            self.heard.append(("start", phase_name, parent_phase, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.heard.append(("step", phase_name, step))
            return len(self.heard) < stops_after

        def phase_finish(self, phase_name: str) -> None:
            self.heard.append(("finish", phase_name))

    return Monitor()


def test_a_build_takes_its_time_and_tells_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_SECONDS", "0.3")
    monkeypatch.setenv("FAKE_TENSORRT_LOG", str(tmp_path / "log"))
    hears = monitor()
    started = time.monotonic()
    built(graph(), progress_monitor=hears)
    assert 0.3 <= time.monotonic() - started < 2
    assert hears.heard[0] == ("start", "Building engine", None, 3)
    assert hears.heard[-1] == ("finish", "Building engine")
    opened: list[str] = []
    for what, name, *more in hears.heard:
        if what == "start":
            assert more[0] == (opened[-1] if opened else None)
            opened.append(name)
        elif what == "finish":
            assert opened.pop() == name
        else:
            assert opened[-1] == name
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert json.loads(line)["profiles"] == [{"images": [[1, 2, 2, 3], [2, 2, 2, 3], [4, 2, 2, 3]]}]
    assert json.loads((tmp_path / "log.ends").read_text())["outcome"] == "built"


def test_a_build_that_is_told_to_stop_stops() -> None:
    hears = monitor(stops_after=9)
    builder, network, config, _, said = told_to(graph(), progress_monitor=hears)
    assert builder.build_serialized_network(network, config) is None
    assert [what for what, *_ in hears.heard[9:]] == ["finish"] * 6
    assert "stopped" in said[-1]


def test_a_timing_cache_is_for_one_version_and_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_LOG", str(tmp_path / "log"))
    kept = b""
    for _ in range(2):
        builder, network, config, _, _ = told_to(graph())
        assert config.create_timing_cache(b"nonsense") is None
        cache = config.create_timing_cache(kept)
        assert config.set_timing_cache(cache, False)
        assert builder.build_serialized_network(network, config) is not None
        kept = bytes(cache.serialize())
    assert [json.loads(line)["cached"] for line in (tmp_path / "log").read_text().splitlines()] == [False, True]
    monkeypatch.setenv("FAKE_GPU", "NVIDIA Orin:8.7")
    other = told_to(graph())[2]
    assert not other.set_timing_cache(other.create_timing_cache(kept), False)
    assert other.set_timing_cache(other.create_timing_cache(kept), True)


# A process of its own: what ends it.

SCRIPT = """
import sys
import tensorrt as trt
class Ears(trt.ILogger):
    def __init__(self):
        trt.ILogger.__init__(self)
    def log(self, severity, msg):
        pass
class Monitor(trt.IProgressMonitor):
    def __init__(self):
        trt.IProgressMonitor.__init__(self)
    def phase_start(self, *told):
        print("begun", flush=True)
        if "raise" in sys.argv:
            raise ValueError("from a callback")
    def step_complete(self, *told):
        return True
    def phase_finish(self, *told):
        pass
ears = Ears()
builder = trt.Builder(ears)
network = builder.create_network(1 if trt.__version__[0] == "8" else 0)
assert trt.OnnxParser(network, ears).parse(open(sys.argv[1], "rb").read())
config = builder.create_builder_config()
if "silent" not in sys.argv:
    config.progress_monitor = Monitor()
print("begun", flush=True)
try:
    built = builder.build_serialized_network(network, config)
except KeyboardInterrupt:
    sys.exit("interrupted once it was built")
"""


@at(
    ("words", "environment", "interrupts", "code"),
    [
        (["raise"], {}, False, -signal.SIGABRT),
        ([], {"FAKE_TENSORRT_FAIL": "crash"}, False, -signal.SIGABRT),
        ([], {"FAKE_TENSORRT_SECONDS": "1"}, True, -signal.SIGABRT),  # within a callback, where else
        (["silent"], {"FAKE_TENSORRT_SECONDS": "1"}, True, 1),
        ([], {}, False, 0),
    ],
)
def test_what_ends_the_process(
    tmp_path: Path, words: list[str], environment: dict[str, str], interrupts: bool, code: int
) -> None:
    (tmp_path / "graph.onnx").write_bytes(graph(dynamic=False))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "graph.onnx"), *words]
    environment = os.environ | environment | {"PYTHONPATH": str(FAKES)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        if interrupts:
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=20)[1]
    assert process.returncode == code, errors
    assert ("interrupted once it was built" in errors) == (code == 1)
