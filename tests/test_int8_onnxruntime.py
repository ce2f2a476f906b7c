"""INT8 for ONNX Runtime: no float between integers, rewritten gates that are exact, activations that grids absorb."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from smallnets import SIDE, YOLOX, Case, Small, answers, case, decibels, measured, run

from edgezoo import backends
from edgezoo.backends import Layer
from edgezoo.reduce.int8.onnxruntime import emit, layers, tensors
from edgezoo.reduce.int8.wiring import unsigned_grid

EVERY_BYTE = np.zeros((1, SIDE, SIDE, 3), np.uint8)
EVERY_BYTE[0, ..., 0] = np.arange(256).reshape(SIDE, SIDE)
NUMBERS = (EVERY_BYTE[0, ..., 0].astype(np.float64) - 128) / 16
"""What `one_channel` makes of `EVERY_BYTE`: -8 to 8."""


def ran(model: onnx.ModelProto, of: Case) -> list[Layer]:
    return backends.layers("onnxruntime", model.SerializeToString(), {"images": of.images[:2]}, threads=1, runs=1)


def between(found: list[Layer]) -> list[Layer]:
    """From the first to the last product by weights."""
    places = [place for place, layer in enumerate(found) if layer.kind in ("QLinearConv", "QGemm", "QLinearMatMul")]
    return found[places[0] : places[-1] + 1]


def emitted(net: Small, output: str) -> tuple[Case, onnx.ModelProto]:
    of = measured(net.finished(output))
    return of, emit(of.model, of.ranges, ())


def nearness(model: onnx.ModelProto, of: Case) -> float:
    """To the answers of float, in decibels."""
    return decibels(of.answers, answers(model, of.images))


def step_of(model: onnx.ModelProto, tensor: str) -> float:
    """Of the bytes of a tensor."""
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    node = next(node for node in model.graph.node if node.output[0] == f"{tensor}/bytes")
    return float(constants[node.input[1]])


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


# No float between integers.


@pytest.mark.parametrize("net", ["residual", "bottlenecks", "squeezing", "pyramid"])
def test_from_the_first_to_the_last_product_all_is_in_integers(net: str) -> None:
    of = case(net)
    inside = between(ran(emit(of.model, of.ranges, ()), of))
    heads = "DequantizeLinear" if net == "pyramid" else ""  # behind the first of its two
    assert [layer.name for layer in inside if layer.precision != "int8" and layer.kind != heads] == []
    assert not [layer.name for layer in inside if layer.kind == "QuantizeLinear"]
    weighted = [node for node in of.model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert sum(layer.kind in ("QLinearConv", "QGemm") for layer in inside) == len(weighted)


def test_a_vector_is_answered_in_floats() -> None:
    of = case("residual")
    model = emit(of.model, of.ranges, ())
    last = next(node for node in model.graph.node if node.op_type == "Gemm")
    assert [node.op_type for node in model.graph.node if last.output[0] in node.input] == ["Identity"]
    assert ran(model, of)[-1].kind == "QGemm"


def transposed(net: Small, x: str) -> str:
    return net.conv(x, 16, op="ConvTranspose", kernel=2, pad=0, strides=[2, 2])


def resized(mode: str) -> Callable[[Small, str], str]:
    return lambda net, x: net.add("Resize", x, "", net.constant([1, 1, 2, 2]), mode=mode)


def slow_hard_sigmoid(net: Small, x: str) -> str:
    return net.add("Mul", x, net.add("HardSigmoid", x, alpha=0.2, beta=0.5))


def mean_of_rows(net: Small, x: str) -> str:
    return net.add("Add", x, net.add("ReduceMean", x, axes=[3], keepdims=1))


def mean_of_a_volume(net: Small, x: str) -> str:
    """Over the last two of three axes, which no pooling does."""
    flat = net.add("Reshape", x, net.ints(0, 16, -1))
    return net.add("Add", x, net.add("Unsqueeze", net.add("ReduceMean", flat, axes=[-1, -2], keepdims=1), net.ints(3)))


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (transposed, "ConvTranspose"),
        (resized("linear"), "Resize"),
        (resized("cubic"), "Resize"),
        (slow_hard_sigmoid, "HardSigmoid"),
        (mean_of_rows, "ReduceMean"),
        (mean_of_a_volume, "ReduceMean"),
    ],
)
def test_what_has_no_integer_kernel_runs_in_float(build: Callable[[Small, str], str], kind: str) -> None:
    net = Small()
    x = build(net, net.conv(net.conv("pixels", 16, act="Relu"), 16))
    of, model = emitted(net, net.conv(x, 16))
    assert nearness(model, of) > 27
    found = ran(model, of)
    assert [layer.precision for layer in found if layer.kind == kind] == ["fp32"]
    assert "GlobalAveragePool" not in operators(model)
    made = next(node.output[0] for node in of.model.graph.node if node.op_type == kind)
    assert step_of(model, made) == pytest.approx(unsigned_grid(*of.ranges[made]).scale), "on a grid of its own"
    assert sum(layer.kind == "QLinearConv" for layer in found) == 3


@pytest.mark.parametrize(
    ("more", "bias", "kind"),
    [
        ({}, (10,), "QGemm"),
        ({}, (1, 10), "QGemm"),
        ({}, (1,), "QGemm"),
        ({}, (), "QGemm"),
        ({}, None, "QGemm"),
        ({"alpha": 0.5}, (10,), "Gemm"),
        ({"beta": 2.0}, (10,), "Gemm"),
    ],
)
def test_products_of_a_vector(more: dict[str, float], bias: tuple[int, ...] | None, kind: str) -> None:
    net = Small()
    x = net.add("Flatten", net.add("GlobalAveragePool", net.conv("pixels", 16, act="Relu")))
    weights = net.constant(net.random.normal(size=(16, 10)) / 4)
    added = [] if bias is None else [net.constant(net.random.normal(size=bias))]
    of, model = emitted(net, net.add("Gemm", x, weights, *added, **more))
    assert nearness(model, of) > 27
    assert ran(model, of)[-1].kind == kind
    assert len(layers(of.model)) == (2 if kind == "QGemm" else 1)


def test_a_product_with_a_bias_for_each_image_stays_in_float() -> None:
    net = Small()
    x = net.add("Flatten", net.add("GlobalAveragePool", net.conv("pixels", 16, act="Relu")))
    bias = net.constant(np.ones((2, 10)))
    model = net.finished(net.add("Gemm", x, net.constant(net.random.normal(size=(16, 10))), bias))
    assert len(layers(model)) == 1


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
def test_a_mean_of_all_pixels_is_pooled(axes: list[int], keepdims: int) -> None:
    net = Small()
    mean = net.add("ReduceMean", net.conv("pixels", 16, act="Relu"), axes=axes, keepdims=keepdims)
    of, model = emitted(net, net.gemm(net.add("Flatten", mean) if keepdims else mean, 10))
    assert nearness(model, of) > 27
    kinds = [layer.kind for layer in between(ran(model, of)) if not layer.conversion]
    assert kinds == ["QLinearConv", "QLinearGlobalAveragePool", "Flatten", "QGemm"]


def test_a_matrix_product_and_what_is_added_to_it() -> None:
    net = Small()
    x = net.add("Flatten", net.add("GlobalAveragePool", net.conv("pixels", 16, act="Relu")))
    x = net.add("MatMul", x, net.constant(net.random.normal(size=(16, 32)) / 4))
    x = net.add("Relu", net.add("Add", x, net.constant(net.random.normal(size=32))))
    net.channels[x] = 32
    of, model = emitted(net, net.gemm(x, 4))
    assert nearness(model, of) > 27
    kinds = [layer.kind for layer in between(ran(model, of))]
    assert kinds[-3:] == ["QLinearMatMul", "QLinearAdd", "QGemm"]


def test_constants_that_are_added_and_multiplied_are_bytes_too() -> None:
    net = Small()
    x = net.conv("pixels", 16, act="Relu")
    x = net.add("Mul", x, net.constant(net.random.uniform(-2, 2, (16, 1, 1))))
    x = net.add("Add", net.constant(net.random.uniform(-1, 1, (1, 16, 1, 1))), x)
    of, model = emitted(net, net.conv(x, 16))
    assert nearness(model, of) > 27
    stored_before, stored = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
        for graph in (of.model, model)
    )
    made = {node.output[0]: node for node in model.graph.node}
    for op, place in (("Mul", 1), ("Add", 0)):
        node = next(node for node in model.graph.node if node.op_type == op)
        real = made[node.input[place]]
        assert stored[real.input[0]].dtype == np.uint8
        numbers, step, zero = (stored[name].astype(np.float64) for name in real.input)
        wanted = next(each.input[place] for each in of.model.graph.node if each.name == node.name)
        np.testing.assert_allclose((numbers - zero) * step, stored_before[wanted], atol=0.51 * step)
    assert {layer.precision for layer in between(ran(model, of))} == {"int8"}


# Gates.


def one_channel(build: Callable[[Small], str]) -> Case:
    """What `build` makes of `x`, which is `NUMBERS`, and a product by one behind it."""
    net = Small(YOLOX)
    net.add("Conv", "pixels", net.constant([[[[1 / 16]], [[0]], [[0]]]]), net.constant([-8]), out="x")
    return measured(net.finished(net.add("Conv", build(net), net.constant([[[[1]]]]))), EVERY_BYTE)


def hard_swish(net: Small) -> str:
    return net.add("HardSwish", "x", out="y")


def hard_sigmoid(net: Small) -> str:
    return net.add("Mul", "x", net.add("HardSigmoid", "x", alpha=1 / 6, beta=0.5, out="y"))


def silu(net: Small) -> str:
    return net.add("Mul", "x", net.add("Sigmoid", "x"), out="y")


def of_hard_swish(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return x * of_hard_sigmoid(x)


def of_hard_sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.clip(x + 3, 0, 6) / 6


def of_silu(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return x / (1 + np.exp(-x))


def read(model: onnx.ModelProto, *tensors: str) -> list[tuple[npt.NDArray[np.float64], float]]:
    """What the bytes of tensors say of `EVERY_BYTE` where integer kernels run, and how much a step of them is."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    names = [f"net/{tensor}/bytes" for tensor in tensors]
    opened.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in names)
    found = run(opened, EVERY_BYTE)
    kinds = [
        layer.kind
        for layer in backends.layers("onnxruntime", opened.SerializeToString(), {"images": EVERY_BYTE}, runs=1)
    ]
    assert not {"Conv", "Mul", "Add", "HardSwish", "HardSigmoid", "Sigmoid"} & set(kinds)
    reals = []
    for name in names:
        reader = next(node for node in model.graph.node if node.input[0] == name)
        step, zero = (constants[port] for port in reader.input[1:])
        reals.append(((found[name][0, 0].astype(np.float64) - zero) * step, float(step)))
    return reals


@pytest.mark.parametrize(
    ("build", "right", "lowest"),
    [(hard_swish, of_hard_swish, -3), (hard_sigmoid, of_hard_sigmoid, -3), (silu, of_silu, -8)],
)
def test_gates_are_right_to_a_step(
    build: Callable[[Small], str],
    right: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    lowest: float,
) -> None:
    of = one_channel(build)
    (x, x_step), (y, y_step) = read(emit(of.model, of.ranges, ()), "x", "y")
    assert x.min() == pytest.approx(lowest, abs=x_step / 2), "bytes are not spent on what is zero anyway"
    assert np.abs(x - NUMBERS.clip(lowest)).max() < 0.501 * x_step
    assert np.abs(y - right(x)).max() < 1.01 * y_step
    assert np.abs(y - right(NUMBERS)).max() < 1.01 * y_step + 0.6 * x_step


def test_a_gate_that_is_moved_keeps_all_its_steps() -> None:
    of = one_channel(
        lambda net: net.add(
            "Mul",
            "x",
            net.add("Reshape", net.add("HardSigmoid", "x", alpha=1 / 6, beta=0.5), net.ints(0, 0, SIDE, SIDE)),
        )
    )
    model = emit(of.model, of.ranges, ())
    ((gate, step),) = read(model, "Reshape_2")
    assert step == pytest.approx(1 / 255, rel=1e-5)
    assert np.abs(gate - of_hard_sigmoid(NUMBERS)).max() < 2 * step + 0.01


@pytest.mark.parametrize("build", [hard_swish, silu])
def test_what_another_reads_keeps_its_lowest_values(build: Callable[[Small], str]) -> None:
    def both(net: Small) -> str:
        return net.add("Concat", build(net), net.add("MaxPool", "x", kernel_shape=[1, 1]), axis=1)

    net = Small(YOLOX)
    net.add("Conv", "pixels", net.constant([[[[1 / 8]], [[0]], [[0]]]]), net.constant([-16]), out="x")
    of = measured(net.finished(net.add("Conv", both(net), net.constant([[[[1]], [[1]]]]))), EVERY_BYTE)
    ((x, step),) = read(emit(of.model, of.ranges, ()), "x")
    assert x.min() == pytest.approx(-16, abs=step)


# What grids absorb.


def clip(low: float | None, high: float | None) -> Callable[[Small, str], str]:
    def build(net: Small, x: str) -> str:
        ends = ["" if end is None else net.constant(end) for end in (low, high)]
        return net.add("Clip", x, *(ends if ends[1] else ends[:1]))

    return build


def relu(net: Small, x: str) -> str:
    return net.add("Relu", x)


@pytest.mark.parametrize(
    ("build", "absorbed"),
    [
        (relu, True),
        (clip(0, 1), True),
        (clip(0, None), True),
        (clip(None, 0.5), True),
        (clip(-0.5, 0.5), True),
        (clip(0.2, 1), False),
        (clip(-1, -0.2), False),
    ],
)
def test_an_activation_that_only_cuts_off_is_done_by_the_grid(
    build: Callable[[Small, str], str], absorbed: bool
) -> None:
    net = Small()
    of, model = emitted(net, net.conv(build(net, net.conv(net.conv("pixels", 16), 16)), 16))
    assert nearness(model, of) > 27
    assert bool({"Relu", "Clip"} & set(operators(model))) != absorbed


def test_a_bound_that_is_computed_is_not_absorbed() -> None:
    net = Small()
    x = net.conv("pixels", 16)
    high = net.add("ReduceMean", net.add("Relu", x), axes=[0, 1, 2, 3], keepdims=0)
    y = net.add("Clip", net.conv(x, 16), net.constant(0), high)
    net.channels[y] = 16
    of, model = emitted(net, net.conv(y, 16))
    assert "Clip" in operators(model)
    assert nearness(model, of) > 25


def test_what_is_read_with_and_without_its_activation_is_right_both_ways() -> None:
    net = Small()
    x = net.conv("pixels", 16)
    both = net.add("Concat", net.conv(net.add("Relu", x), 16, kernel=1), net.conv(x, 16, kernel=1), axis=1)
    of, model = emitted(net, net.conv(both, 16, kernel=1))
    assert nearness(model, of) > 27
    assert min(of.ranges["net/Conv_0"]) < -0.5
    assert sum(layer.kind == "QLinearConv" for layer in ran(model, of)) == 4, "its bytes are on one grid"


def test_pooling_keeps_its_grid_before_an_activation() -> None:
    net = Small()
    x = net.add("Relu", net.add("MaxPool", net.conv("pixels", 16), kernel_shape=[2, 2], strides=[2, 2]))
    of, model = emitted(net, net.conv(x, 16))
    assert nearness(model, of) > 27
    assert [layer.precision for layer in ran(model, of) if "MaxPool" in layer.kind] == ["int8"]


def test_an_activation_that_is_an_output_too() -> None:
    net = Small()
    x = net.conv("pixels", 16, act="Relu")
    model = net.finished(net.conv(net.conv(x, 16), 16))
    model.graph.output.append(helper.make_tensor_value_info("net/Relu_1", TensorProto.FLOAT, ["N", 16, SIDE, SIDE]))
    of = measured(model)
    wanted, found = (run(graph, of.images) for graph in (of.model, emit(of.model, of.ranges, ())))
    assert all(decibels(wanted[name], found[name]) > 30 for name in ("answers", "net/Relu_1"))


def test_what_is_asked_for_is_measured_only_where_it_is_a_number() -> None:
    of = case("pyramid")
    known = onnx.shape_inference.infer_shapes(of.model).graph.value_info
    floats = {port.name for port in known if port.type.tensor_type.elem_type == TensorProto.FLOAT}
    assert set(tensors(of.model)) <= floats
