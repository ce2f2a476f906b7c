"""Grids, and the wires of a graph on its way to integers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import Net
from onnx import numpy_helper
from smallnets import Small, answers, decibels, measured

from edgezoo.convert.opset import in_opset
from edgezoo.errors import ConvertError
from edgezoo.reduce.int8.onnxruntime import emit
from edgezoo.reduce.int8.wiring import Grid, Wiring, attribute, output_axis, symmetric_grid, unsigned_grid

RANGES = [(-1.0, 1.0), (0.0, 6.0), (-3.0, 0.0), (2.0, 5.0), (-5.0, -2.0), (0.0, 0.0), (-1e-30, 1e-30), (1e30, 2e30)]


def real(grid: Grid, stored: float) -> float:
    return grid.scale * (stored - grid.zero)


# Grids.


@pytest.mark.parametrize("ends", RANGES)
def test_an_unsigned_grid_covers_what_came_and_zero(ends: tuple[float, float]) -> None:
    grid = unsigned_grid(*ends)
    assert grid.scale > 0
    assert isinstance(grid.zero, int)
    assert 0 <= grid.zero <= 255
    assert np.float32(grid.scale) == grid.scale, "as the graph stores it"
    low, high = real(grid, 0), real(grid, 255)
    assert low - 0.501 * grid.scale <= min(*ends, 0) * (1 + 1e-6)
    assert high + 0.501 * grid.scale >= max(*ends, 0) * (1 - 1e-6)
    assert high - low == pytest.approx(max(*ends, 0) - min(*ends, 0), rel=1e-6, abs=1e-5), "no wider than it must be"
    assert grid.kind is np.uint8


@pytest.mark.parametrize("ends", RANGES)
def test_a_symmetric_grid_is_even_about_zero(ends: tuple[float, float]) -> None:
    grid = symmetric_grid(*ends)
    assert grid.scale > 0
    assert grid.zero == 0
    assert real(grid, 127) == pytest.approx(np.abs(ends).max(), rel=1e-6, abs=1e-5)
    assert grid.kind is np.int8


def test_one_sided_grids_lose_nothing_to_the_other_side() -> None:
    assert unsigned_grid(0.5, 2.55) == Grid(float(np.float32(0.01)), 0, signed=False)
    assert unsigned_grid(-2.55, -0.5) == Grid(float(np.float32(0.01)), 255, signed=False)


# Pairs.


def graph() -> onnx.ModelProto:
    net = Small()
    x = net.add("Relu", net.conv("pixels", 8), out="x")
    return net.finished(net.add("Add", net.conv(x, 8), net.add("Add", net.conv(x, 8), x), out="sum"))


def node_of(wiring: Wiring, op: str, place: int = 0) -> onnx.NodeProto:
    return [node for node in wiring.model.graph.node if node.op_type == op][place]


def test_two_readers_on_one_grid_share_a_pair_and_on_two_grids_have_two() -> None:
    wiring = Wiring(graph())
    second, third, added = node_of(wiring, "Conv", 1), node_of(wiring, "Conv", 2), node_of(wiring, "Add")
    narrow, wide = Grid(0.1, 0, signed=True), Grid(0.2, 0, signed=True)
    for node, place, grid in ((second, 0, narrow), (third, 0, narrow), (added, 1, wide)):
        wiring.read(node, place, "net/x", grid)
    model = wiring.finish()
    steps = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert sorted(float(steps[node.input[1]]) for node in pairs) == [np.float32(0.1), np.float32(0.2)]
    inputs = {node.name: list(node.input) for node in model.graph.node}
    assert inputs[second.name][0] == inputs[third.name][0] != inputs[added.name][1]


def test_what_is_read_may_have_a_scale_of_its_own() -> None:
    """A sixth of what was stored is nothing but another scale."""
    wiring = Wiring(graph())
    nodes = [node_of(wiring, "Conv", 1), node_of(wiring, "Conv", 2)]
    for node, scale in zip(nodes, (0.1, 0.05)):
        wiring.read(node, 0, "net/x", Grid(0.1, 3, signed=False), scale=scale)
    model = wiring.finish()
    steps = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in [*node.output, node.name]}
    readers = [made[made[node.name].input[0]] for node in nodes]
    assert [float(steps[node.input[1]]) for node in readers] == [np.float32(0.1), np.float32(0.05)]
    assert [float(steps[made[node.input[0]].input[1]]) for node in readers] == [np.float32(0.1)] * 2


def test_nodes_keep_their_order_and_what_is_put_in_stands_before_its_first_reader() -> None:
    wiring = Wiring(graph())
    before = [node.name for node in wiring.model.graph.node]
    for name in wiring.layers:
        node = wiring.weighted[name]
        wiring.read(node, 0, node.input[0], Grid(0.1, 0, signed=True))
        wiring.quantise_weights(node)
    model = wiring.finish()
    names = [node.name for node in model.graph.node]
    assert [name for name in names if name in before] == before
    assert names[0] == before[0], "the door comes first"
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            readers = [other.name for other in model.graph.node if node.output[0] in other.input]
            assert 0 < names.index(readers[0]) - names.index(node.name) <= 3


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-5])
def test_scales_that_float16_has(size: float) -> None:
    """Also of weights so small that their scales are not among its normal numbers."""
    net = Small()
    x = net.conv("pixels", 16, act="Relu")
    weights = net.random.normal(size=(16, 16, 1, 1)) * size
    wiring = Wiring(net.finished(net.conv(x, 16, kernel=1, weights=net.constant(weights))), half_scales=True)
    node = wiring.weighted[wiring.layers[-1]]
    wiring.read(node, 0, node.input[0], Grid(float(np.float32(1 / 3)), 0, signed=True))
    wiring.quantise_weights(node)
    found = {each.name: numpy_helper.to_array(each) for each in wiring.finish().graph.initializer}
    scales = [value for name, value in found.items() if name.endswith("scale")]
    assert len(scales) == 3
    assert all(np.array_equal(scale.astype(np.float16), scale) for scale in scales)
    stored, steps = (found[f"{node.name}/weights/{part}"].astype(np.float64) for part in ("bytes", "scale"))
    steps = steps.reshape(-1, 1, 1, 1)
    assert (np.abs(stored * steps - weights) < 0.501 * steps).all()
    assert (np.abs(stored).max(axis=(1, 2, 3)) > 0.4 * 127).all()


# Weights.


def quantised(weights: np.ndarray, *, op: str = "Conv", **more: int) -> tuple[np.ndarray, np.ndarray]:
    """The stored weights of a node, and their scales."""
    net = Net()
    net.add("Relu", net.add(op, "pixels", net.constant(weights), **more))
    shape = ["N", weights.shape[0], 8, 8] if op == "ConvTranspose" else ["N", weights.shape[1], 8, 8]
    model = net.model([*shape], {})
    model.graph.node[0].name = "layer"
    wiring = Wiring(model)
    wiring.quantise_weights(wiring.weighted["layer"])
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in wiring.model.graph.initializer}
    return found["layer/weights/bytes"], found["layer/weights/scale"]


def test_each_output_channel_has_its_own_scale() -> None:
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)) * np.array([1, 100, 1e-3, 0])[:, None, None, None]
    stored, scales = quantised(weights)
    assert stored.dtype == np.int8
    assert scales.dtype == np.float32
    np.testing.assert_allclose(scales[:3], np.abs(weights[:3]).max(axis=(1, 2, 3)) / 127, rtol=1e-6)
    assert [int(np.abs(part.astype(int)).max()) for part in stored] == [127, 127, 127, 0]
    assert scales[3] > 0
    error = np.abs(stored * scales[:, None, None, None].astype(np.float64) - weights)
    assert (error <= 0.501 * scales[:, None, None, None]).all()


def test_the_output_channels_of_a_transposed_convolution_are_its_second_axis() -> None:
    weights = np.random.default_rng(0).normal(size=(4, 3, 2, 2)) * np.array([1, 10, 100])[:, None, None]
    stored, scales = quantised(weights, op="ConvTranspose")
    assert scales.shape == (3,)
    assert np.abs(stored.astype(int)).max(axis=(0, 2, 3)).tolist() == [127] * 3


@pytest.mark.parametrize(
    ("op", "more", "axis"),
    [("Conv", {}, 0), ("ConvTranspose", {}, 1), ("MatMul", {}, 1), ("Gemm", {}, 1), ("Gemm", {"transB": 1}, 0)],
)
def test_the_axis_of_output_channels(op: str, more: dict[str, int], axis: int) -> None:
    assert output_axis(onnx.helper.make_node(op, ["x", "w"], ["y"], **more)) == axis


def test_an_attribute_or_what_it_is_by_default() -> None:
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], group=4)
    assert attribute(node, "group", 1) == 4
    assert attribute(node, "pads", None) is None


@pytest.mark.parametrize("size", [1.0, 1e-4, 1e-7, 0.0])
def test_a_bias_far_larger_than_its_weights_is_not_cut_off(size: float) -> None:
    """As of channels that died in training: what they say is their bias."""
    net = Small()
    x = net.conv("pixels", 8, act="Relu")
    weights = net.random.normal(size=(4, 8, 1, 1)) / 3
    weights[1:3] *= size
    of = measured(net.finished(net.add("Conv", x, net.constant(weights), net.constant([0, 40, -40, 0]))))
    found = answers(emit(of.model, of.ranges, ()), of.images)
    step = (of.answers.max() - of.answers.min()) / 255
    np.testing.assert_allclose(found, of.answers, atol=2 * step)


def test_a_tensor_that_is_always_zero() -> None:
    net = Small()
    dead = net.add("Relu", net.add("Conv", net.conv("pixels", 8), net.constant(np.zeros((8, 8, 1, 1)))))
    net.channels[dead] = 8
    of = measured(net.finished(net.conv(dead, 8)))
    assert of.ranges["net/Relu_2"] == (0, 0)
    found = answers(emit(of.model, of.ranges, ()), of.images)
    assert np.isfinite(found).all()
    assert decibels(of.answers, found) > 36


# What stands where.


def test_which_tensors_are_numbers_that_change() -> None:
    net = Small()
    x = net.conv("pixels", 8)
    model = net.finished(net.gemm(net.add("Flatten", net.add("GlobalAveragePool", x)), 4))
    weights = model.graph.initializer[-1]
    model.graph.value_info.append(onnx.helper.make_tensor_value_info(weights.name, weights.data_type, weights.dims))
    wiring = Wiring(model)
    assert wiring.ranks[f"net/{x}"] == 4
    assert wiring.ranks["answers"] == 2
    assert not {weights.name, "images"} & set(wiring.ranks)


def test_where_a_branch_comes_from() -> None:
    net = Small()
    first = net.conv("pixels", 8, act="Silu")
    second = net.conv(first, 8)
    pooled = net.add("MaxPool", second, kernel_shape=[1, 1])
    wiring = Wiring(net.finished(net.conv(net.add("Add", pooled, first), 8)))
    one, two, three = wiring.layers
    assert wiring.behind(f"net/{first}", [one]), "through its activation"
    assert not wiring.behind(f"net/{second}", [one]), "another layer lies between"
    assert wiring.behind(f"net/{second}", [two])
    assert not wiring.behind(f"net/{pooled}", [one, two, three]), "pooling may run in integers for itself"
    assert not wiring.behind("images", [one, two, three])


def test_a_graph_that_cannot_go_to_an_opset() -> None:
    with pytest.raises(ConvertError, match="cannot go to opset 6: "):
        in_opset(graph(), 6)
