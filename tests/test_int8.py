"""INT8 by any emitter: valid graphs with the same ports, answers near float's, and in float just what is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from placement import quantised
from smallnets import NETS, SIDE, YOLOX, Case, Small, answers, case, decibels, measured

from edgezoo.backends import layers
from edgezoo.errors import ConvertError, UnknownName
from edgezoo.reduce.int8 import TARGETS, emitter, readable, tensors

EVERY = [(target, net) for target in TARGETS for net in NETS]


def emitted(target: str, of: Case, *floats: str) -> onnx.ModelProto:
    return emitter(target).emit(of.model, of.ranges, floats)


def ports(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    return [*model.graph.input, *model.graph.output]


def kinds(model: onnx.ModelProto, of: Case) -> dict[str, str]:
    """What ONNX Runtime runs in the place of each node."""
    called = {node.output[0]: node.name for node in model.graph.node}  # as it calls its own convolutions
    found = layers("onnxruntime", model.SerializeToString(), {"images": of.images[:1]}, threads=1, runs=1)
    return {called.get(layer.name, layer.name): layer.kind for layer in found}


# Every emitter.


@pytest.mark.parametrize(("target", "net"), EVERY)
def test_the_graph_is_valid_and_its_ports_are_those_of_float(target: str, net: str) -> None:
    of = case(net)
    before = of.model.SerializeToString()
    model = emitted(target, of)
    onnx.checker.check_model(model, full_check=True)
    assert of.model.SerializeToString() == before, "the graph that was given is another's"
    assert ports(model) == ports(of.model)
    assert ports(model)[0].type.tensor_type.shape.dim[0].dim_param == "N"

    names = [node.name for node in model.graph.node]
    made = [name for node in model.graph.node for name in node.output]
    made += [tensor.name for tensor in model.graph.initializer]
    assert all(names)
    assert len(set(names)) == len(names)
    assert len(set(made)) == len(made)
    read = {name for node in model.graph.node for name in node.input} | {port.name for port in model.graph.output}
    assert read.issuperset(made), "nothing lies there that nobody reads"


@pytest.mark.parametrize(("target", "net"), EVERY)
@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_answers_are_near_those_of_float(target: str, net: str, color: str) -> None:
    of = case(net, YOLOX) if color == "BGR" else case(net)
    model = emitted(target, of)
    found = answers(model, of.images)
    assert 25 < decibels(of.answers, found) < 60, "near, but not the same"
    one_by_one = [answers(model, image[None]) for image in of.images[:3]]
    assert decibels(found[:3], np.concatenate(one_by_one)) > 60


@pytest.mark.parametrize("net", NETS)
def test_openvino_answers_near_float_in_integers(net: str) -> None:
    pytest.importorskip("openvino", reason="this is how it runs them")
    of = case(net)
    model = emitted("openvino", of)
    assert decibels(of.answers, answers(model, of.images, backend="openvino")) > 25
    ran = layers("openvino", model.SerializeToString(), {"images": of.images}, threads=1, runs=1)
    convolutions = [layer for layer in ran if layer.kind in ("Convolution", "GroupConvolution")]
    assert len(convolutions) == sum(node.op_type == "Conv" for node in of.model.graph.node)
    assert {layer.precision for layer in convolutions} == {"int8"}


@pytest.mark.parametrize(("target", "net"), EVERY)
def test_with_all_layers_in_float_it_is_float(target: str, net: str) -> None:
    of = case(net)
    model = emitted(target, of, *emitter(target).layers(of.model))
    assert not [node.name for node in model.graph.node if node.op_type == "QuantizeLinear"]
    if target == "tensorrt":  # the rest of which is half
        assert decibels(of.answers, answers(model, of.images)) > 50
    else:
        np.testing.assert_array_equal(answers(model, of.images), of.answers)


@pytest.mark.parametrize("net", NETS)
def test_onnx_runtime_leaves_exactly_one_layer_in_float(net: str) -> None:
    of = case(net)
    wanted = emitter("onnxruntime").layers(of.model)
    assert len(wanted) > 3
    for freed in [None, *wanted]:
        ran = kinds(emitted("onnxruntime", of, *filter(None, [freed])), of)
        in_float = [name for name in wanted if not ran.get(name, "").startswith(("QLinear", "QGemm"))]
        assert in_float == [freed] * (freed is not None)
        assert sum(kind in ("Conv", "FusedConv", "Gemm") for kind in ran.values()) == len(in_float)


def test_a_linear_convolution_between_two_integer_ones_stays_in_float() -> None:
    net = Small()
    x = net.conv("pixels", 16)
    for _ in range(3):
        x = net.conv(x, 16, kernel=1)
    of = measured(net.finished(net.gemm(net.add("Flatten", net.add("GlobalAveragePool", x)), 4)))
    first, second, third, fourth, _ = emitter("onnxruntime").layers(of.model)
    ran = kinds(emitted("onnxruntime", of, second), of)
    assert [ran[name] for name in (first, second, third, fourth)] == [
        "QLinearConv", "Conv", "QLinearConv", "QLinearConv",
    ]  # fmt: skip
    assert decibels(of.answers, answers(emitted("onnxruntime", of, second), of.images)) > 25


@pytest.mark.parametrize("target", ["openvino", "tensorrt"])
@pytest.mark.parametrize("net", NETS)
def test_pairs_stand_before_all_layers_but_the_one_in_float(target: str, net: str) -> None:
    of = case(net)
    wanted = emitter(target).layers(of.model)
    assert len(wanted) > 3
    for freed in [None, *wanted]:
        model = emitted(target, of, *filter(None, [freed]))
        assert quantised(model) == [name for name in wanted if name != freed]
        dequantised = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
        assert not [n.name for n in model.graph.node if n.name == freed and dequantised.intersection(n.input)]


# OpenVINO's form.


@pytest.mark.parametrize("net", NETS)
def test_openvino_has_pairs_before_weighted_operators_and_on_both_branches_of_a_sum(net: str) -> None:
    of = case(net)
    model = emitted("openvino", of)
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    seen: Counter[str] = Counter()
    for node in model.graph.node:
        there = [makers.get(name) == "DequantizeLinear" for name in node.input]
        if node.op_type in ("Conv", "ConvTranspose", "Gemm"):
            assert there == [True, True, False], "the bias in float"
        elif node.op_type == "Add":
            assert there == [True, True]
        elif node.op_type == "MaxPool" and there[0]:  # it picks bytes, for a weighted node that reads the same ones
            (pool,) = (each for each in model.graph.node if each.input[0] == node.output[0])
            assert pool.op_type == "QuantizeLinear"
            scales = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
            own = next(each for each in model.graph.node if node.input[0] in each.output)
            assert scales[own.input[1]] == scales[pool.input[1]]
        elif node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            assert not any(there), node.name
        seen[node.op_type] += 1
    before = [node for node in of.model.graph.node if node.op_type == "Add"]
    assert seen["Add"] == len(before)
    weights = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in constants]
    assert len(weights) == len(emitter("openvino").layers(of.model))


def test_openvino_leaves_a_sum_in_float_whose_branches_are() -> None:
    of = case("residual")
    for node in of.model.graph.node:
        if node.op_type == "Add":
            makers = {name: each for each in of.model.graph.node for name in each.output}
            both = [makers[name].name for name in node.input if makers[name].op_type == "Conv"]
            model = emitted("openvino", of, *both)
            own = next(each for each in model.graph.node if each.name == node.name)
            assert list(own.input) == list(node.input)


# What layers are called.


def test_layers_are_called_by_their_weights() -> None:
    net = Small()
    x = net.conv("pixels", 16, act="Relu")
    for name in ("stem.weight", "head.weight", "blocks.0.conv"):
        net.constants.append(numpy_helper.from_array(net.random.normal(size=(16, 16, 1, 1)).astype(np.float32), name))
    x = net.conv(x, 16, kernel=1, weights="stem.weight")
    x = net.conv(net.conv(x, 16, kernel=1, weights="head.weight"), 16, kernel=1, weights="head.weight")
    x = net.conv(x, 16, kernel=1, weights="blocks.0.conv")
    model = net.finished(x)
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    for node, name in zip(nodes, ("net/first", "net/second", "net/stem", "head", "net/last"), strict=True):
        node.name = name
    assert readable(model) == {
        "net/first": "first",  # its weights have no name of their own
        "net/second": "stem",
        "net/stem": "net/stem",  # weights that two share
        "head": "head",
        "net/last": "last",
    }


def test_no_two_layers_are_called_the_same() -> None:
    net = Small()
    net.constants.append(numpy_helper.from_array(net.random.normal(size=(16, 16, 1, 1)).astype(np.float32), "a.weight"))
    net.constants.append(numpy_helper.from_array(net.random.normal(size=(16, 16, 1, 1)).astype(np.float32), "b.weight"))
    x = net.conv("pixels", 16)
    x = net.conv(net.conv(x, 16, kernel=1, weights="a.weight"), 16, kernel=1, weights="a.weight")
    model = net.finished(net.conv(x, 16, kernel=1, weights="b.weight"))
    for node, name in zip([n for n in model.graph.node if n.op_type == "Conv"], ("a", "b", "c", "d"), strict=True):
        node.name = name  # without "net/", as no bundle has it
    assert readable(model) == {name: name for name in "abcd"}, (
        "`b` shares `a.weight`, so that d's may not be called `b`"
    )


# What cannot be.


def test_a_target_that_is_none() -> None:
    with pytest.raises(UnknownName, match="onnxruntime"):
        emitter("onnx-runtime")


@pytest.mark.parametrize("target", TARGETS)
def test_a_layer_that_is_none(target: str) -> None:
    of = case("residual")
    near = emitter(target).layers(of.model)[0]
    with pytest.raises(UnknownName, match=f"{near}x.*{near}"):
        emitted(target, of, f"{near}x")


@pytest.mark.parametrize("target", TARGETS)
def test_a_range_that_is_missing(target: str) -> None:
    of = case("squeezing")
    asked = emitter(target).tensors(of.model)
    assert set(asked) <= set(tensors(of.model)) == set(of.ranges)
    emitter(target).emit(of.model, {name: of.ranges[name] for name in asked}, ())
    gone = asked[len(asked) // 2]
    with pytest.raises(ConvertError, match=gone):
        emitter(target).emit(of.model, {name: of.ranges[name] for name in asked if name != gone}, ())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("net", NETS)
def test_the_ranges_that_are_asked_for_suffice_whatever_is_in_float(target: str, net: str) -> None:
    of = case(net)
    ranges = {name: of.ranges[name] for name in emitter(target).tensors(of.model)}
    wanted = emitter(target).layers(of.model)
    for seed in range(10):
        chosen = np.random.default_rng(seed).random(len(wanted)) < 0.4
        floats = [name for name, free in zip(wanted, chosen) if free]
        made = emitter(target).emit(of.model, ranges, floats)
        pairs = any(node.op_type == "DequantizeLinear" for node in made.graph.node)
        assert pairs == (len(floats) < len(wanted))


@pytest.mark.parametrize("target", TARGETS)
def test_a_network_without_weights(target: str) -> None:
    net = Small()
    model = net.finished(net.add("MaxPool", net.add("Relu", "pixels"), kernel_shape=[2, 2]))
    assert emitter(target).layers(model) == []
    with pytest.raises(ConvertError, match="got none"):
        emitter(target).emit(model, {}, ())


def computed_weights(net: Small) -> str:
    """A convolution by what a network makes of the image."""
    x = net.conv("pixels", 16, act="Relu")
    kernel = net.add("Reshape", net.add("ReduceMean", x, axes=[0, 2, 3], keepdims=1), net.ints(1, 16, 1, 1))
    made = net.add("Conv", x, kernel)
    net.channels[made] = 1
    return net.conv(made, 16, act="Relu")


def computed_bias(net: Small) -> str:
    x = net.conv("pixels", 16, act="Relu")
    bias = net.add("ReduceMean", x, axes=[0, 2, 3], keepdims=0)
    return net.conv(net.add("Conv", x, net.constant(net.random.normal(size=(16, 16, 1, 1)) / 4), bias), 16)


def weights_first(net: Small) -> str:
    """A product whose constant is the left one."""
    x = net.conv("pixels", 16, act="Relu")
    left = net.constant(net.random.normal(size=(SIDE, SIDE)) / 4)
    return net.conv(net.add("MatMul", left, x), 16)


def its_own_weights(net: Small) -> str:
    """A convolution whose input and weights are one tensor."""
    x = net.conv("pixels", 16, act="Relu")
    mean = net.add("ReduceMean", x, axes=[0], keepdims=1)
    return net.conv(net.add("Add", x, net.add("Conv", mean, mean)), 16)


def weights_of_three_axes(net: Small) -> str:
    """A product by a matrix of its own for each channel."""
    x = net.conv("pixels", 16, act="Relu")
    return net.conv(net.add("MatMul", x, net.constant(net.random.normal(size=(16, SIDE, SIDE)) / 4)), 16)


def halves(net: Small) -> str:
    """A layer of float16 between others."""
    x = net.conv("pixels", 16, act="Relu")
    weights = net.constant(net.random.normal(size=(16, 16, 1, 1)) / 4, np.float16)
    narrow = net.add("Relu", net.add("Conv", net.add("Cast", x, to=TensorProto.FLOAT16), weights))
    pooled = net.add("MaxPool", narrow, kernel_shape=[2, 2])
    return net.conv(net.add("Cast", pooled, to=TensorProto.FLOAT), 16)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "build", [computed_weights, computed_bias, its_own_weights, weights_first, weights_of_three_axes, halves]
)
def test_a_layer_whose_weights_are_no_float32_constants_stays_as_it_is(
    build: Callable[[Small], str], target: str
) -> None:
    net = Small()
    of = measured(net.finished(build(net)))
    first, strange, last = readable(of.model)
    thin = [first, *[last] * (build is computed_weights)]
    assert emitter(target).layers(of.model) == [
        name for name in (first, last) if target != "tensorrt" or name not in thin
    ]
    if emitter(target).layers(of.model):
        model = emitted(target, of)
        assert decibels(of.answers, answers(model, of.images)) > 25
        assert kinds(model, of).get(strange, "Conv") in ("Conv", "FusedConv", "MatMul")


@pytest.mark.parametrize("target", TARGETS)
def test_weights_of_two_layers(target: str) -> None:
    net = Small()
    weights = net.constant(net.random.normal(size=(16, 16, 3, 3)) / 12)
    x = net.conv("pixels", 16, act="Relu")
    x = net.conv(x, 16, act="Relu", weights=weights)
    of = measured(net.finished(net.conv(x, 16, weights=weights)))
    for freed in [None, *emitter(target).layers(of.model)]:
        assert decibels(of.answers, answers(emitted(target, of, *filter(None, [freed])), of.images)) > 25


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("op", ["Add", "Mul", "Concat"])
def test_a_tensor_that_a_node_reads_twice(op: str, target: str) -> None:
    net = Small()
    x = net.conv(net.conv("pixels", 16, act="Relu"), 16, act="Relu")
    twice = net.add(op, x, x, **({"axis": 1} if op == "Concat" else {}))
    of = measured(net.finished(net.conv(twice, 16)))
    assert decibels(of.answers, answers(emitted(target, of), of.images)) > 25


@pytest.mark.parametrize("target", TARGETS)
def test_shapes_that_the_network_computes_stay_integers_of_their_own(target: str) -> None:
    """A `view` as exporters write it; the tensors on its way are int64."""
    net = Small()
    x = net.add("MaxPool", net.conv(net.conv("pixels", 16, act="Relu"), 16), kernel_shape=[4, 4], strides=[4, 4])
    count = net.add("Unsqueeze", net.add("Gather", net.add("Shape", x), net.constant(0, np.int64), axis=0), net.ints(0))
    flat = net.add("Reshape", x, net.add("Concat", count, net.add("Mul", net.ints(-1), net.ints(1)), axis=0))
    net.channels[flat] = 256
    of = measured(net.finished(net.gemm(flat, 4)))
    assert decibels(of.answers, answers(emitted(target, of), of.images)) > 25


@pytest.mark.parametrize("target", TARGETS)
def test_graphs_of_an_opset_that_knows_no_scale_for_each_channel(target: str) -> None:
    net = Small()
    x = net.conv(net.conv("pixels", 16, act="Silu"), 32, act="Relu")
    of = measured(net.finished(net.conv(net.add("MaxPool", x, kernel_shape=[2, 2]), 16), opset=11))
    model = emitted(target, of)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version >= 13
    assert of.model.opset_import[0].version == 11
    assert decibels(of.answers, answers(model, of.images)) > 25
