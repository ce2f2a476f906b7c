"""What each TensorRT's ONNX parser documents to read: our own artifacts are that, and what is not is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from quantised import SIDE, Int8
from smallnets import NETS, case

from edgezoo.backends.tensorrt.parser import known, notes, refusals
from edgezoo.errors import UnknownName
from edgezoo.reduce.half import half
from edgezoo.reduce.int8.tensorrt import VERSIONS, emit

BUNDLE = Path(__file__).parents[1] / "models" / "digits" / "bundle"
EVERY = ("8.6", "10.0", "10.3", "10.13", "11.0", "11.4")
FLOAT, HALF, BYTES = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8
CONVERT = "make it with: edgezoo convert MODEL --precision int8-tensorrt --tensorrt"


def told(model: onnx.ModelProto, version: str) -> list[str]:
    return refusals(model.SerializeToString(), version)


# What edgezoo makes.


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("oldest", VERSIONS)
def test_int8_is_read_by_the_versions_that_it_is_made_for(net: str, oldest: str) -> None:
    made = emit(case(net).model, case(net).ranges, (), oldest=oldest)
    assert any(node.op_type == "QuantizeLinear" for node in made.graph.node)
    for version in EVERY[EVERY.index({"8.6": "8.6", "10": "10.0", "11": "11.0"}[oldest]) :]:
        assert told(made, version) == []


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("version", EVERY)
def test_floats_are_read_by_all(net: str, version: str) -> None:
    assert told(case(net).model, version) == []
    made = half(case(net).model).graph
    assert any(tensor.data_type == HALF for tensor in made.graph.initializer)
    assert told(made, version) == []


def test_half_scales_are_refused_where_float_is_read_alone() -> None:
    made = emit(case("residual").model, case("residual").ranges, (), oldest="10")
    count = {op: sum(node.op_type == op for node in made.graph.node) for op in ("QuantizeLinear", "DequantizeLinear")}
    found = told(made, "8.6")
    assert found[0] == f"the graph: opset 19; TensorRT 8.6 reads up to 17; {CONVERT} 8.6"
    assert len(found) == 3
    for op, line in zip(count, found[1:]):
        assert line.startswith(f"{op} 'net/")
        assert f" and {count[op] - 1} more: its scale is FP16, and TensorRT 8.6 reads FP32; {CONVERT} 8.6" in line


@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("artifact", ["fp32", "int8-tensorrt"])
def test_the_built_in_model(artifact: str, version: str) -> None:
    """fp32 is read by all; int8 is made for 10 and newer, for the sake of its scales in half."""
    found = refusals((BUNDLE / f"model.{artifact}.onnx").read_bytes(), version)
    if (artifact, version) == ("int8-tensorrt", "8.6"):
        assert found[0].startswith("the graph: opset 19; ")
        assert all("its scale is FP16" in line for line in found[1:])
        assert len(found) == 3
    else:
        assert found == []


def test_what_is_made_for_another_runtime_is_refused() -> None:
    for version in EVERY:
        found = refusals((BUNDLE / "model.int8-openvino.onnx").read_bytes(), version)
        assert any("it makes UINT8" in line for line in found)
        assert any("its zero point is not 0" in line for line in found)


# Graphs that break one rule each.


def plain(build: Callable[[Int8, str], str], *, opset: int = 17, kind: int = FLOAT) -> onnx.ModelProto:
    """`images`, the door, what is built of its pixels (N, 3, 8, 8), and a Cast to `kind`, out as `answers`."""
    net = Int8()
    made = build(net, net.door())
    model = net.finished(net.add("Cast", made, to=kind, out="answers"), opset=opset, kind=kind)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def scaled(net: Int8, x: str) -> str:
    """A pair whose scale is half."""
    port = net.constant(0.05, np.float16), net.constant(0, np.int8)
    return net.add("DequantizeLinear", net.add("QuantizeLinear", net.add("Cast", x, to=HALF), *port), *port)


def kernel(net: Int8, x: str, **stated: list[int]) -> str:
    """A convolution whose kernel goes through Q/DQ."""
    grid = net.constant(0.05), net.constant(0, np.int8)
    return net.add(
        "Conv", x, net.add("DequantizeLinear", net.constant(np.ones((3, 3, 1, 1)), np.int8), *grid), **stated
    )


def no_zero(net: Int8, x: str) -> str:
    scale = net.constant(0.05)
    stored = net.add("QuantizeLinear", x, scale, net.constant(0, np.int8))
    return net.add("DequantizeLinear", stored, scale)


def computed(net: Int8, x: str) -> str:
    """Axes that come out of a Cast."""
    return net.add("Squeeze", x, net.add("Cast", net.constant([0], np.int32), to=TensorProto.INT64))


def of_the_image(net: Int8, x: str) -> str:
    size = net.add("Slice", net.add("Shape", x), net.ints(0), net.ints(1))
    return net.add("Unsqueeze", x, size)


def pooled(net: Int8, x: str) -> str:
    flat = net.add("Reshape", x, net.ints(0, 3, -1))
    return net.add("MaxPool", flat, kernel_shape=[2])


def custom(net: Int8, x: str) -> str:
    return net.add("Gelu", x, domain="com.microsoft")


def branches(net: Int8, x: str) -> str:
    """An If with an operator in one branch that no version reads."""

    def branch(op: str, name: str) -> onnx.GraphProto:
        port = helper.make_tensor_value_info(name, FLOAT, None)
        return helper.make_graph([helper.make_node(op, [x], [name], name=f"in/{op}")], name, [], [port])

    sides = {"then_branch": branch("Relu", "then"), "else_branch": branch("Det", "else")}
    return net.add("If", net.constant(True, np.bool_), **sides)


@pytest.mark.parametrize(
    ("build", "version", "line"),
    [
        (lambda net, x: net.add("Gelu", x), "8.6", "Gelu 'Gelu_3': TensorRT 8.6 does not read this operator; 10.0 "),
        (lambda net, x: net.add("Det", x), "11.4", "Det 'Det_3': TensorRT 11.4 does not read this operator; write it"),
        (custom, "10.3", "Gelu 'Gelu_3': TensorRT 10.3 reads com.microsoft with a plugin alone"),
        (branches, "11", "Det 'in/Det': TensorRT 11.0 does not read"),
        (lambda net, x: net.add("Softmax", net.add("Cast", x, to=TensorProto.DOUBLE)), "11", ""),
        (lambda net, x: net.add("Sqrt", net.add("Cast", x, to=TensorProto.INT32)), "10", "Sqrt 'Sqrt_4': TensorRT 10.0 "
         "reads it for BF16, FP16, FP32, not for INT32; cast before it"),
        (lambda net, x: net.add("ReduceMax", net.add("Cast", x, to=TensorProto.INT64)), "8.6", "not for INT32"),
        (lambda net, x: net.add("ReduceMax", net.add("Cast", x, to=TensorProto.INT64)), "10", ""),
        (lambda net, x: net.add("Cast", x, to=TensorProto.INT16), "10", "UINT8, not for INT16; cast before it"),
        (lambda net, x: net.add("Where", net.add("Cast", x, to=TensorProto.BOOL), x, x), "8.6", ""),
        (lambda net, x: net.add("Flatten", net.add("Cast", x, to=BYTES)), "11", "Cast 'Cast_3': it gives uint8 inside"),
        (lambda net, x: net.add("Add", x, net.add("Cast", net.constant(3, np.uint8), to=FLOAT)), "10", "stored uint8"),
        (lambda net, x: net.add("Relu", net.pair(x, zero=3)), "10", "its zero point is not 0; quantise symmetrically"),
        (lambda net, x: net.add("Relu", net.pair(x, zero=0, kind=np.uint8)), "10", "it makes UINT8"),
        (lambda net, x: net.add("Relu", net.pair(x)), "8.6", ""),
        (scaled, "10", ""),
        (scaled, "8.6", "QuantizeLinear 'QuantizeLinear_4': its scale is FP16, and TensorRT 8.6 reads FP32; make it"),
        (kernel, "8.6", "its kernel goes through Q/DQ and its kernel_shape is left out; state that"),
        (kernel, "10", ""),
        (lambda net, x: kernel(net, x, kernel_shape=[1, 1]), "8.6", ""),
        (no_zero, "8.6", "DequantizeLinear 'DequantizeLinear_4': its zero point is left out; store one of 0"),
        (no_zero, "10", ""),
        (computed, "10.3", "Squeeze 'Squeeze_4': its axes are computed; store it: fold the graph's constants"),
        (computed, "10.7", ""),
        (of_the_image, "11", "its axes depend on the image"),
        (pooled, "10", "MaxPool 'MaxPool_4': it pools in neither 2D nor 3D"),
        (lambda net, x: net.add("MaxPool", x, kernel_shape=[2, 2], dilations=[2, 2]), "10", "it has dilations"),
        (lambda net, x: net.add("MaxPool", x, kernel_shape=[2, 2], dilations=[1, 1]), "10", ""),
        (lambda net, x: net.add("Resize", x, "", net.constant([1, 1, 2, 2]), mode="cubic"), "11", "neither nearest"),
        (lambda net, x: net.add("Resize", x, "", net.constant([1, 1, 2, 2]), mode="linear"), "11", ""),
        (lambda net, x: net.add("Resize", x, "", net.constant([1, 1, 2, 2]), coordinate_transformation_mode="half_pixel"
                                "_symmetric"), "11", "its coordinates are of another kind"),
        (lambda net, x: net.add("Einsum", x, equation="...ij->...ji"), "10.3", "ellipses and repeated letters"),
        (lambda net, x: net.add("Einsum", x, equation="nchw->nhwc"), "10.3", ""),
        (lambda net, x: net.add("Einsum", x, equation="...ij->...ji"), "10.12", ""),
        (lambda net, x: net.add("ReduceSum", x, net.add("Identity", net.ints(1))), "10", "its axes are computed"),
        (lambda net, x: net.add("Pad", x, net.ints(0, 0, 0, 0, 0, 0, 1, 1), mode="wrap"), "8.6", "wrap is read from"),
    ],
)  # fmt: skip
def test_what_is_refused(build: Callable[[Int8, str], str], version: str, line: str) -> None:
    found = told(plain(build), version)
    if line:
        assert any(line in each for each in found)
    else:
        assert found == []


@pytest.mark.parametrize(
    ("opset", "version", "line"),
    [
        (17, "8.6", ""),
        (18, "8.6", "the graph: opset 18; TensorRT 8.6 reads up to 17; convert the model again"),
        (20, "10.5", ""),
        (21, "10.5.0", "the graph: opset 21; TensorRT 10.5 reads up to 20"),
        (22, "10.6", ""),
        (23, "10.13.3.9", ""),
        (24, "10.14", "reads up to 23"),
        (24, "11.4", ""),
        (25, "11.4.1", "the graph: opset 25; TensorRT 11.4 reads up to 24"),
        (25, "11.9", ""),
        (8, "10", "the graph: opset 8; TensorRT 10.0 reads 9 and newer"),
    ],
)
def test_opsets(opset: int, version: str, line: str) -> None:
    found = told(plain(lambda net, x: net.add("Relu", x), opset=opset), version)
    assert len(found) == bool(line)
    assert not line or line in found[0]


def turned(net: Int8) -> str:
    return net.add("Cast", net.add("Transpose", "images", perm=[0, 3, 1, 2]), to=FLOAT)


def measured(net: Int8) -> str:
    size = net.add("Shape", "images")
    return net.add("Reshape", net.add("Cast", "images", to=FLOAT), size)


@pytest.mark.parametrize(
    ("door", "line"),
    [
        (lambda net: net.add("Cast", "images", to=FLOAT), ""),
        (lambda net: net.add("Cast", "images", to=HALF), ""),
        (lambda net: net.add("Cast", net.add("Cast", "images", to=TensorProto.INT32), to=FLOAT), "Cast 'Cast_0'"),
        (turned, "Transpose 'Transpose_0'"),
        (measured, "Shape 'Shape_0'"),
    ],
)
@pytest.mark.parametrize("version", ["8.6", "10.3", "11.4"])
def test_the_door(door: Callable[[Int8], str], version: str, line: str) -> None:
    net = Int8()
    found = told(net.finished(net.add("Cast", net.add("Relu", door(net)), to=FLOAT), SIDE, SIDE, 3), version)
    what = f"it reads the bytes of 'images', which TensorRT {version} only casts to float; put that Cast first"
    assert [each for each in found if "images" in each] == ([f"{line}: {what}"] if line else [])
    assert bool(found) == bool(line)


@pytest.mark.parametrize(
    ("kind", "version", "line"),
    [
        (TensorProto.INT64, "8.6", "output 'answers': TensorRT 8.6 makes INT32 of INT64; cast it to that"),
        (TensorProto.INT64, "10", ""),
        (TensorProto.DOUBLE, "11", "output 'answers': TensorRT 11.0 makes FP32 of FP64"),
        (BYTES, "8.6", ""),
        (BYTES, "11", ""),
    ],
)
def test_what_goes_out(kind: int, version: str, line: str) -> None:
    found = told(plain(lambda net, x: x, kind=kind), version)
    assert [line in each for each in found] == [True] * bool(line)


def test_bytes_that_go_out_of_something_else_than_a_cast_from_float() -> None:
    model = plain(lambda net, x: net.add("ArgMax", x, axis=1), kind=BYTES)
    assert told(model, "10.3") == ["Cast 'Cast_4': uint8 goes out of a Cast from float alone; put one last"]


def test_weights_in_another_file() -> None:
    model = plain(lambda net, x: net.add("Add", x, net.constant(np.ones(8))))
    tensor = model.graph.initializer[-1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    assert told(model, "10") == ["the graph: weights lie in another file, 'weights.bin'; save it as one file"]


def test_local_functions() -> None:
    model = plain(lambda net, x: net.add("Twice", x, domain="mine"))
    inner = [helper.make_node("Add", ["a", "a"], ["b"]), helper.make_node("Det", ["b"], ["c"])]
    opset = helper.make_opsetid("", 17)
    model.functions.append(helper.make_function("mine", "Twice", ["a"], ["b"], inner[:1], [opset]))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    assert told(model, "10") == []
    assert told(model, "8.6") == ["the graph: it has local functions, which TensorRT 8.6 does not read; inline them"]
    model.functions[0].node.append(inner[1])
    assert ["Det" in line for line in told(model, "10")] == [True]


# Notes, versions, what is no graph.


def test_notes() -> None:
    model = plain(lambda net, x: net.add("Reshape", x, net.ints(0, -1)))
    assert notes(model.SerializeToString(), "8.6") == [
        "TensorRT 8.6 computes int64 in int32; larger values are clamped"
    ]
    assert notes(model.SerializeToString(), "10.0") == []
    model = plain(lambda net, x: net.add("Cast", x, to=TensorProto.DOUBLE))
    assert notes(model.SerializeToString(), "11.4") == [
        "TensorRT 11.4 computes float64 in float32; larger values are clamped"
    ]


def test_versions() -> None:
    assert known()[0] == "8.6"
    assert {"10.0", "10.12", "11.0"} <= set(known())
    assert list(known()) == sorted(known(), key=lambda version: [int(part) for part in version.split(".")])


@pytest.mark.parametrize("version", ["8.5", "8.5.3", "9.2", "12.0", "7", "", "ten", "-1.0", "10,3"])
def test_versions_that_nothing_is_known_of(version: str) -> None:
    model = plain(lambda net, x: net.add("Relu", x))
    with pytest.raises(UnknownName, match=r"no TensorRT version is called"):
        told(model, version)


@pytest.mark.parametrize(
    ("op", "opset", "first"),
    [("HardSwish", 17, "8.6"), ("Mish", 18, "10.0"), ("HannWindow", 17, "10.4"), ("Swish", 24, "11.0")],
)
def test_when_an_operator_came(op: str, opset: int, first: str) -> None:
    def build(net: Int8, x: str) -> str:
        return net.add(op, net.constant(8, np.int32) if op == "HannWindow" else x)

    for version in known():
        found = told(plain(build, opset=opset), version)
        there = known().index(version) >= known().index(first)
        assert any("does not read this operator" in line for line in found) != there


@pytest.mark.parametrize("data", [b"", b"not a graph", b"\xff" * 40])
def test_what_is_no_graph(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an ONNX file"):
        refusals(data, "10")


@pytest.mark.parametrize("broken", ["no opset", "a function that calls itself"])
def test_a_graph_whose_types_cannot_be_told(broken: str) -> None:
    model = plain(lambda net, x: net.add("F", x, domain="com.microsoft"))
    if broken == "no opset":
        del model.opset_import[:]
    else:
        inner = helper.make_node("F", ["a"], ["b"], domain="com.microsoft")
        opsets = list(model.opset_import)
        model.functions.append(helper.make_function("com.microsoft", "F", ["a"], ["b"], [inner], opsets))
    with pytest.raises(ValueError, match="the types of its tensors cannot be told: ") as caught:
        told(model, "10")
    assert "\n" not in str(caught.value)
