"""Engines of the fake TensorRT: where they run, what they compute, and what is told of their layers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_modules import NEWEST, VERSIONS, faked
from fake_parts import Device, built, graph, loaded, model, ok, pinned
from onnx import TensorProto, helper

at = pytest.mark.parametrize


@pytest.fixture
def version(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", NEWEST))


@pytest.fixture(autouse=True)
def fakes(version: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with faked(monkeypatch, FAKE_TENSORRT=version):
        yield


@at(
    ("told", "settings", "runs_at", "says"),
    [
        ({}, {}, {}, ""),
        ({}, {}, {"FAKE_TENSORRT": "11.5.0"}, "Version tag does not match"),
        ({"flags": ["VERSION_COMPATIBLE"]}, {"engine_host_code_allowed": True}, {"FAKE_TENSORRT": "11.5.0"}, ""),
        ({"flags": ["VERSION_COMPATIBLE"]}, {}, {}, "host code is not allowed"),
        ({}, {}, {"FAKE_GPU": "NVIDIA Orin:8.7"}, "incompatible device"),
        ({}, {}, {"FAKE_GPU": "NVIDIA L40:8.9"}, "different models of devices"),
    ],
)
def test_where_an_engine_runs(
    monkeypatch: pytest.MonkeyPatch, told: Any, settings: Any, runs_at: dict[str, str], says: str
) -> None:
    engine = bytes(built(graph(), **told))
    if "FAKE_TENSORRT" in runs_at:
        monkeypatch.setattr("tensorrt._engine.VERSION", runs_at["FAKE_TENSORRT"])
        monkeypatch.setattr("tensorrt._engine.NUMBERS", tuple(map(int, runs_at["FAKE_TENSORRT"].split("."))))
    monkeypatch.setenv("FAKE_GPU", runs_at.get("FAKE_GPU", "NVIDIA Fake RTX:8.9"))
    opened, said = loaded(engine, **settings)
    assert (opened is None) == (bool(says) and "different models" not in says)
    assert says in " ".join(said)
    assert bool(said) == bool(says)


@at(
    "damage",
    [lambda data: data[:-1], lambda data: data[:40] + b"?" + data[41:], lambda data: b"", lambda data: b"ftrt"],
)
def test_bytes_that_are_damaged_are_no_engine(damage: Any) -> None:
    opened, said = loaded(damage(bytes(built(graph()))))
    assert opened is None
    assert "Serialization" in said[0]


@at("version", VERSIONS, indirect=True)
def test_a_run_computes_at_the_shape_that_is_set(version: str) -> None:
    engine, said = loaded(built(graph()))
    context = engine.create_execution_context()
    there, (back, array) = Device(36), pinned((3, 2, 2, 3), np.float32)
    out = ok(there.cudart.cudaMalloc(array.nbytes))
    stream = int(there.stream)
    assert not context.execute_async_v3(stream), "no shape was set"
    assert not context.set_input_shape("images", (5, 2, 2, 3))
    assert not context.set_input_shape("images", (3, 2, 3, 3))
    assert not context.set_input_shape("pictures", (3, 2, 2, 3))
    assert context.set_input_shape("images", (3, 2, 2, 3))
    assert context.get_tensor_shape("doubled") == (3, 2, 2, 3)
    assert not context.execute_async_v3(stream), "no address was set"
    assert len(said) == 5
    assert context.set_tensor_address("images", there.device)
    assert context.set_tensor_address("doubled", out)
    there.array[:] = range(36)
    array[:] = 0
    ok(there.up())
    assert context.execute_async_v3(stream)
    kind = there.kind.cudaMemcpyDeviceToHost
    ok(there.cudart.cudaMemcpyAsync(back, out, array.nbytes, kind, there.stream))
    assert not array.any()
    ok(there.cudart.cudaStreamSynchronize(there.stream))
    np.testing.assert_array_equal(array.ravel(), np.arange(36) * 2.0)


def test_a_run_may_be_captured_after_one_that_was_not() -> None:
    engine, said = loaded(built(graph(dynamic=False), ranges=None))
    context = engine.create_execution_context()
    there, out = Device(12), Device(48)
    context.set_tensor_address("images", there.device)
    context.set_tensor_address("doubled", out.device)
    mode = there.cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    for runs_before in (False, True):
        if runs_before:
            assert context.execute_async_v3(int(there.stream))
        ok(there.cudart.cudaStreamBeginCapture(there.stream, mode))
        assert context.execute_async_v3(int(there.stream)) == runs_before
        assert there.cudart.cudaStreamEndCapture(there.stream)[0] == (0 if runs_before else 901)
    assert "capturing" in said[0]


# Layers.


def quantised() -> bytes:
    """Two convolutions in int8, one in float between linear ends."""

    def conv(source: str, name: str, kind: str) -> Any:
        return helper.make_node("Conv", [source, f"{name}_{kind}"], [f"{name}_out"], name, kernel_shape=[1, 1])

    def steps(source: str, name: str) -> list[Any]:
        q = helper.make_node("QuantizeLinear", [source, "scale", "zero"], [f"{name}_q"], f"{name}_Q")
        return [q, helper.make_node("DequantizeLinear", [f"{name}_q", "scale", "zero"], [f"{name}_dq"], f"{name}_DQ")]

    def weight(name: str) -> Any:
        return helper.make_node("DequantizeLinear", [f"{name}_w", "scale", "zero"], [f"{name}_wdq"], f"{name}_wDQ")

    nodes = [
        helper.make_node("Cast", ["images"], ["real"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["planes"], "turn", perm=[0, 3, 1, 2]),
        *steps("planes", "one"),
        weight("one"),
        conv("one_dq", "one", "wdq"),
        helper.make_node("Relu", ["one_out"], ["one_relu"], "one_relu"),
        *steps("one_relu", "two"),
        weight("two"),
        conv("two_dq", "two", "wdq"),
        helper.make_node("Sigmoid", ["two_out"], ["two_sigmoid"], "two_sigmoid"),
        helper.make_node("Flatten", ["two_sigmoid"], ["scores"], "flat"),
    ]
    weights = {"one_w": np.ones((8, 3, 1, 1), np.int8), "two_w": np.ones((4, 8, 1, 1), np.int8)}
    weights |= {"scale": 1.0, "zero": np.asarray(0, np.int8)}
    inputs = [("images", TensorProto.UINT8, ["N", 2, 2, 3])]
    return model(nodes, inputs, [("scores", TensorProto.FLOAT, ["N", 16])], weights)


def layers(serialized: bytes, batch: int | None, **settings: Any) -> Any:
    import tensorrt as trt

    flags = ["INT8"] if "INT8" in trt.BuilderFlag.__members__ else []
    engine, _ = loaded(built(serialized, flags=flags, **settings))
    inspector = engine.create_engine_inspector()
    if batch is not None:
        context = engine.create_execution_context()
        assert context.set_input_shape("images", (batch, 2, 2, 3))
        inspector.execution_context = context
    told = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    first = json.loads(inspector.get_layer_information(0, trt.LayerInformationFormat.JSON))
    assert first == told["Layers"][0]
    return told


def detailed() -> Any:
    import tensorrt as trt

    return {"profiling_verbosity": trt.ProfilingVerbosity.DETAILED}


@at("version", VERSIONS, indirect=True)
def test_layers_are_fused_and_named_as_tensorrt_does(version: str) -> None:
    told = layers(quantised(), 2, **detailed())
    named = {layer["Name"]: layer for layer in told["Layers"]}
    assert list(named) == [
        "cast",
        "turn",
        "one_Q",
        "one + one_relu",
        "two + PWN(two_sigmoid)",
        "Reformatting CopyNode for Input Tensor 0 to flat",
        "flat",
    ]
    assert (named["one_Q"]["LayerType"], named["one_Q"]["Origin"]) == ("Reformat", "QDQ")
    assert named["one + one_relu"]["Weights"] == {"Type": "Int8", "Count": 24}
    assert named["two + PWN(two_sigmoid)"]["Inputs"][0]["Dimensions"] == [2, 8, 2, 2]


@at(
    ("version", "said"),
    [
        ("8.6.2", {"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}),
        ("10.3.0", {"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}),
        ("10.13.2.6", {"Format/Datatype": "Int8"}),
        (NEWEST, {"Datatype": "Int8", "Format": "Thirty-two wide channel vectorized row major Int8 format"}),
    ],
    indirect=["version"],
)
def test_each_version_has_words_of_its_own(version: str, said: dict[str, str]) -> None:
    told = layers(quantised(), 2, **detailed())
    (port,) = told["Layers"][4]["Inputs"]
    assert {key: value for key, value in port.items() if key not in ("Name", "Location", "Dimensions")} == said
    assert told.get("Bindings") == (["images", "scores"] if version != NEWEST else None)
    assert [port["Name"] for port in told.get("I/O Tensors", [])] == (["images", "scores"] if version == NEWEST else [])


@at("version", VERSIONS, indirect=True)
def test_types_are_unknown_until_the_batch_size_is_known(version: str) -> None:
    (port,) = layers(quantised(), None, **detailed())["Layers"][4]["Inputs"]
    assert port["Dimensions"] == [-1, 8, 2, 2]
    assert "N/A due to dynamic shapes" in port.values()


def test_what_is_told_of_an_engine_that_was_built_to_tell_less() -> None:
    import tensorrt as trt

    assert layers(graph(), None)["Layers"] == ["cast", "PWN(double)"]
    silent = built(graph(), profiling_verbosity=trt.ProfilingVerbosity.NONE)
    inspector = loaded(silent)[0].create_engine_inspector()
    assert json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))["Layers"] == []


def test_layouts_that_differ_are_joined() -> None:
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], "cast", to=TensorProto.FLOAT16),
        helper.make_node("Transpose", ["real"], ["planes"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w"], ["mixed"], "mix", kernel_shape=[1, 1]),
        helper.make_node("Transpose", ["mixed"], ["back"], "back", perm=[0, 2, 3, 1]),
        helper.make_node("Conv", ["planes", "w"], ["raw"], "raw", kernel_shape=[1, 1]),
    ]
    half, inputs = TensorProto.FLOAT16, [("images", TensorProto.UINT8, [1, 2, 2, 3])]
    outputs = [("back", half, [1, 2, 2, 8]), ("raw", half, [1, 8, 2, 2])]
    serialized = model(nodes, inputs, outputs, {"w": np.ones((8, 3, 1, 1), np.float16)})
    told = layers(serialized, None, ranges=None, **detailed())["Layers"]
    names = [layer["Name"] for layer in told if layer["LayerType"] == "Reformat"]
    assert names == [
        "Reformatting CopyNode for Input Tensor 0 to mix",
        "Reformatting CopyNode for Input Tensor 0 to back",
        "Reformatting CopyNode for Input Tensor 0 to raw",
        "Reformatting CopyNode for Output Tensor 0 to raw",
    ]
    for layer in told:
        if layer["LayerType"] == "Reformat":
            assert layer["Inputs"][0]["Datatype"] == layer["Outputs"][0]["Datatype"] == "Half"
            assert layer["Inputs"][0]["Format"] != layer["Outputs"][0]["Format"]


@at("emits", [True, False])
def test_the_profiler_hears_of_every_layer(emits: bool) -> None:
    import tensorrt as trt

    class Profiler(trt.IProfiler):
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.heard: list[tuple[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.heard.append((layer_name, ms))

    context = loaded(built(graph(dynamic=False), ranges=None))[0].create_execution_context()
    there, out = Device(12), Device(48)
    context.set_tensor_address("images", there.device)
    context.set_tensor_address("doubled", out.device)
    context.profiler, context.enqueue_emits_profile = Profiler(), emits
    assert context.execute_async_v3(int(there.stream))
    if not emits:
        assert not context.report_to_profiler()  # it did not run yet
        ok(there.cudart.cudaStreamSynchronize(there.stream))
        assert context.report_to_profiler()
    assert [name for name, _ in context.profiler.heard] == ["cast", "PWN(double)"]
    assert all(ms > 0 for _, ms in context.profiler.heard)
