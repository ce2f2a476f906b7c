"""The checker of TensorRT's placement rules: good graphs pass, and a graph that breaks one rule is told which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from placement import breaches, quantised
from quantised import SIDE, Int8, classifier

from edgezoo.reduce.half import half

TensorRT = Literal["8.6", "10", "11"]


def start() -> tuple[Int8, str]:
    """A network under construction, and its first float tensor of 16 channels."""
    net = Int8()
    return net, net.conv(net.door(), net.plain(16, 3, 3, 3), out_channels=16)


def end(net: Int8, name: str, channels: int = 16, side: int = SIDE) -> onnx.ModelProto:
    """The model that ends in a float convolution and a tail."""
    last = net.add("Conv", name, net.plain(4, channels, 1, 1))
    return net.finished(net.add("Sigmoid", last, out="scores"), 4, side, side)


def block(net: Int8, name: str, channels: int = 16) -> str:
    """A quantised convolution of a tensor that has a pair on it."""
    return net.conv(name, net.weight(16, channels, 3, 3), out_channels=16)


# What is right.


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("tensorrt", ["8.6", "10", "11"])
def test_a_good_graph(tensorrt: TensorRT, stored: bool) -> None:
    model = classifier(stored=stored)
    assert len(quantised(model)) == 3
    assert breaches(model if tensorrt == "8.6" else half(model).graph, tensorrt) == []


def test_what_was_kept_may_be_float() -> None:
    model = classifier()
    made = half(model, keep=["Conv_14"])
    assert breaches(made.graph, "10", kept=made.kept) == []
    assert {line.split()[1] for line in breaches(made.graph, "10")} == {
        "QuantizeLinear_11:",
        "DequantizeLinear_12:",
        "Conv_14:",
    }


def plain_network() -> onnx.ModelProto:
    net, first = start()
    return end(net, first)


def quantised_from_the_first_pixel() -> onnx.ModelProto:
    net = Int8()
    wide = net.add("Concat", *[net.door()] * 6, axis=1)
    return end(net, block(net, net.pair(wide), 18))


def a_linear_bottleneck() -> onnx.ModelProto:
    """Two skips in a row, the second convolution of each block without an activation, as in MobileNetV2."""
    net, name = start()
    for _ in range(2):
        skip = net.pair(name)
        inner = net.pair(block(net, skip))
        name = net.add("Add", skip, net.add("Conv", inner, net.weight(16, 16, 1, 1)))
    return end(net, name)


def two_projections() -> onnx.ModelProto:
    """An Add whose branches are both fresh from a convolution, as where a ResNet goes to a new size."""
    net, first = start()
    seen = net.pair(first)
    return end(net, net.add("Add", net.pair(block(net, seen)), net.add("Conv", seen, net.weight(16, 16, 1, 1))))


def a_gated_block() -> onnx.ModelProto:
    """SiLU and squeeze-and-excitation in float between quantised convolutions."""
    net, first = start()
    inner = net.add("Conv", net.pair(first), net.weight(16, 1, 1, 1), group=16)
    silu = net.add("Mul", inner, net.add("Sigmoid", inner))
    gate = net.add("HardSigmoid", net.add("Conv", net.add("GlobalAveragePool", silu), net.plain(16, 16, 1, 1)))
    return end(net, block(net, net.pair(net.add("Mul", silu, gate))))


def a_pyramid() -> onnx.ModelProto:
    """Resize and pooling on int8, side by side in a Concat."""
    net, first = start()
    seen = net.pair(first)
    pooled = net.add("MaxPool", seen, kernel_shape=[2, 2], strides=[2, 2])
    back = net.add("Resize", block(net, net.pair(pooled)), "", net.constant([1, 1, 2, 2]), mode="nearest")
    joined = net.add("Concat", net.pair(back, 0.04), net.pair(first, 0.04), axis=1)
    return end(net, block(net, net.pair(joined, 0.04), 32))


def a_transposed_convolution() -> onnx.ModelProto:
    net, first = start()
    weight = net.weight(16, 24, 3, 3, axis=1)
    return end(net, net.conv(net.pair(first), weight, out_channels=24, op="ConvTranspose"), 24)


def a_product_with_a_matrix() -> onnx.ModelProto:
    net, first = start()
    rows = net.add("Reshape", first, net.ints(0, 16, SIDE * SIDE))
    product = net.add("MatMul", net.pair(rows), net.weight(SIDE * SIDE, SIDE * SIDE, axis=1))
    return end(net, net.add("Reshape", product, net.ints(0, 16, SIDE, SIDE)))


@pytest.mark.parametrize(
    "build",
    [
        quantised_from_the_first_pixel,
        a_linear_bottleneck,
        two_projections,
        a_gated_block,
        a_pyramid,
        a_transposed_convolution,
        a_product_with_a_matrix,
    ],
)
def test_forms_that_networks_have(build: Callable[[], onnx.ModelProto]) -> None:
    model = build()
    onnx.checker.check_model(model, full_check=True)
    assert breaches(model, "8.6") == []
    assert breaches(half(model).graph, "11") == []


# What is wrong: each of these breaks one rule.


def bytes_read_twice() -> onnx.ModelProto:
    net, first = start()
    again = net.add("Cast", "images", to=TensorProto.FLOAT)
    return end(net, net.add("Add", first, net.add("ReduceMean", again)))


def bytes_not_cast_first() -> onnx.ModelProto:
    net = Int8()
    pixels = net.add("Cast", net.add("Transpose", "images", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    return end(net, net.conv(pixels, net.plain(16, 3, 3, 3), out_channels=16))


def integer_operator() -> onnx.ModelProto:
    net, first = start()
    rows = net.add("Reshape", first, net.ints(0, 16, SIDE * SIDE))
    ints = net.add("Cast", rows, to=TensorProto.INT8)
    product = net.add("MatMulInteger", ints, net.constant(np.ones((SIDE * SIDE, SIDE * SIDE)), np.int8))
    real = net.add("Cast", product, to=TensorProto.FLOAT)
    return end(net, net.add("Reshape", real, net.ints(0, 16, SIDE, SIDE)))


def pair_of(**more: object) -> Callable[[], onnx.ModelProto]:
    def build() -> onnx.ModelProto:
        net, first = start()
        return end(net, block(net, net.pair(first, **more)))

    return build


def no_zero_point() -> onnx.ModelProto:
    """QuantizeLinear without one makes uint8."""
    net, first = start()
    scale = net.constant(0.05)
    pair = net.add("DequantizeLinear", net.add("QuantizeLinear", first, scale), scale)
    return end(net, block(net, pair))


def two_scales_in_a_pair() -> onnx.ModelProto:
    net, first = start()
    zero = net.constant(0, np.int8)
    ints = net.add("QuantizeLinear", first, net.constant(0.05), zero)
    return end(net, block(net, net.add("DequantizeLinear", ints, net.constant(0.06), zero)))


def integers_read_by_another() -> onnx.ModelProto:
    net, first = start()
    seen = net.pair(first)
    ints = next(node for node in net.nodes if node.op_type == "QuantizeLinear").output[0]
    more = net.add("Cast", ints, to=TensorProto.FLOAT)
    return end(net, net.add("Mul", block(net, seen), more))


def weight_of(**more: int) -> Callable[[], onnx.ModelProto]:
    def build() -> onnx.ModelProto:
        net, first = start()
        return end(net, net.conv(net.pair(first), net.weight(16, 16, 3, 3, **more), out_channels=16))

    return build


def one_scale_for_a_weight() -> onnx.ModelProto:
    net, first = start()
    ints, scale = net.constant(np.ones((16, 16, 3, 3)), np.int8), net.constant(0.01)
    weight = net.add("DequantizeLinear", ints, scale, net.constant(0, np.int8))
    return end(net, net.conv(net.pair(first), weight, out_channels=16))


def weight_of_uint8() -> onnx.ModelProto:
    net, first = start()
    ints, scale = net.constant(np.ones((16, 16, 3, 3)), np.uint8), net.constant([0.01] * 16)
    weight = net.add("DequantizeLinear", ints, scale, net.constant([0] * 16, np.uint8), axis=0)
    return end(net, net.conv(net.pair(first), weight, out_channels=16))


def transposed_on_the_wrong_axis() -> onnx.ModelProto:
    net, first = start()
    weight = net.weight(16, 16, 3, 3, axis=0)
    return end(net, net.conv(net.pair(first), weight, out_channels=16, op="ConvTranspose"))


def matrix_on_the_wrong_axis() -> onnx.ModelProto:
    net, first = start()
    rows = net.add("Reshape", first, net.ints(0, 16, SIDE * SIDE))
    product = net.add("MatMul", net.pair(rows), net.weight(SIDE * SIDE, SIDE * SIDE, axis=0))
    return end(net, net.add("Reshape", product, net.ints(0, 16, SIDE, SIDE)))


def quantised_constant_of_no_weight() -> onnx.ModelProto:
    net, first = start()
    return end(net, net.add("Mul", first, net.add("Reshape", net.weight(16, 1), net.ints(1, 16, 1, 1))))


def weight_alone() -> onnx.ModelProto:
    net, first = start()
    return end(net, block(net, first))


def input_alone() -> onnx.ModelProto:
    net, first = start()
    return end(net, net.conv(net.pair(first), net.plain(16, 16, 3, 3), out_channels=16))


def pair_before_a_pool_instead() -> onnx.ModelProto:
    net, first = start()
    pooled = net.add("MaxPool", net.pair(first), kernel_shape=[1, 1])
    return end(net, block(net, pooled))


def pair_on_an_output() -> onnx.ModelProto:
    """Between a convolution and its activation."""
    net, first = start()
    inner = net.add("Conv", net.pair(first), net.weight(16, 16, 1, 1))
    return end(net, net.add("Relu", net.pair(inner)))


def pair_behind_a_pair() -> onnx.ModelProto:
    net, first = start()
    return end(net, block(net, net.pair(net.pair(first))))


def pair_that_another_reads_too() -> onnx.ModelProto:
    net, first = start()
    seen = net.pair(first)
    return end(net, net.add("Mul", block(net, seen), net.add("Sigmoid", seen)))


def pair_before_an_add_of_no_convolution() -> onnx.ModelProto:
    net, first = start()
    return end(net, net.add("Add", net.pair(first), net.add("Relu", first)))


def quantised_bias() -> onnx.ModelProto:
    net, first = start()
    bias = net.add("DequantizeLinear", net.constant([1] * 16, np.int32), net.constant([0.01] * 16), axis=0)
    return end(net, net.add("Conv", net.pair(first), net.weight(16, 16, 1, 1), bias))


def bare_skip() -> onnx.ModelProto:
    net, first = start()
    return end(net, net.add("Add", first, block(net, net.pair(first))))


def pair_on_the_wrong_branch() -> onnx.ModelProto:
    net, first = start()
    return end(net, net.add("Add", first, net.pair(block(net, net.pair(first)))))


def pairs_on_both_branches() -> onnx.ModelProto:
    net, first = start()
    seen = net.pair(first)
    return end(net, net.add("Add", seen, net.pair(block(net, seen))))


def bare_projections() -> onnx.ModelProto:
    net, first = start()
    seen = net.pair(first)
    return end(net, net.add("Add", block(net, seen), net.add("Conv", seen, net.weight(16, 16, 1, 1))))


def joined(*scales: float | None) -> Callable[[], onnx.ModelProto]:
    def build() -> onnx.ModelProto:
        net, first = start()
        parts = [first if scale is None else net.pair(first, scale) for scale in scales]
        together = net.add("Concat", *parts, axis=1)
        return end(net, block(net, net.pair(together), 16 * len(parts)))

    return build


def few_channels(*shape: int, **more: int) -> Callable[[], onnx.ModelProto]:
    def build() -> onnx.ModelProto:
        net = Int8()
        first = net.add("Conv", net.door(), net.plain(shape[1] * more.get("group", 1), 3, 1, 1))
        wide = net.add("Conv", net.pair(first), net.weight(*shape), **more)
        return end(net, wide, shape[0])

    return build


def vector() -> onnx.ModelProto:
    net, first = start()
    row = net.add("Flatten", net.add("GlobalAveragePool", first))
    gate = net.add("Gemm", net.pair(row), net.weight(16, 16, axis=0), transB=1)
    return end(net, net.add("Mul", first, net.add("Reshape", gate, net.ints(0, 16, 1, 1))))


def vector_without_a_bias() -> onnx.ModelProto:
    net, first = start()
    row = net.add("Flatten", net.add("GlobalAveragePool", first))
    gate = net.add("MatMul", net.pair(row), net.weight(16, 16, axis=1))
    return end(net, net.add("Mul", first, net.add("Reshape", gate, net.ints(0, 16, 1, 1))))


def quantised_tail() -> onnx.ModelProto:
    net, first = start()
    last = net.add("Conv", first, net.plain(4, 16, 1, 1))
    return net.finished(net.add("Sigmoid", net.pair(last), out="scores"), 4, SIDE, SIDE)


def bytes_inside() -> onnx.ModelProto:
    net, first = start()
    rounded = net.add("Cast", net.add("Cast", first, to=TensorProto.UINT8), to=TensorProto.FLOAT)
    return end(net, rounded)


def long_output() -> onnx.ModelProto:
    net, first = start()
    last = net.add("ArgMax", net.add("Conv", first, net.plain(4, 16, 1, 1)), axis=1, out="mask")
    return net.finished(last, 1, SIDE, SIDE, kind=TensorProto.INT64)


@pytest.mark.parametrize(
    ("rule", "build", "says"),
    [
        ("door", bytes_read_twice, "images: expected uint8 and one Cast to float, got ['Cast', 'Cast']"),
        ("ops", integer_operator, "MatMulInteger"),
        ("activation", pair_of(zero=3), "not symmetric int8"),
        ("activation", pair_of(kind=np.uint8), "not symmetric int8"),
        ("activation", no_zero_point, "not symmetric int8"),
        ("activation", pair_of(scale=[0.05] * 16), "expected one positive scale, got shape (16,)"),
        ("activation", pair_of(scale=0.0), "expected one positive scale"),
        ("activation", two_scales_in_a_pair, "not that of QuantizeLinear_5"),
        ("activation", integers_read_by_another, "read by something else"),
        ("weight", weight_of(zero=1), "not symmetric int8"),
        ("weight", weight_of_uint8, "not symmetric int8"),
        ("weight", weight_of(axis=1), "expected 16 positive scales on axis 0, got 16 on axis 1"),
        ("weight", one_scale_for_a_weight, "expected 16 positive scales on axis 0, got 1"),
        ("weight", transposed_on_the_wrong_axis, "on axis 1, got 16 on axis 0"),
        ("weight", matrix_on_the_wrong_axis, "on axis 1, got 64 on axis 0"),
        ("weight", quantised_constant_of_no_weight, "Reshape reads a constant through Q/DQ"),
        ("both", weight_alone, "before its weight alone"),
        ("both", input_alone, "before its input alone"),
        ("both", pair_before_a_pool_instead, "before its weight alone"),
        ("purpose", pair_on_an_output, "read by Relu"),
        ("purpose", pair_behind_a_pair, "read by QuantizeLinear"),
        ("purpose", pair_that_another_reads_too, "read by Sigmoid"),
        ("purpose", pair_before_an_add_of_no_convolution, "read by Add"),
        ("bias", quantised_bias, "expected a bias in float"),
        ("skip", bare_skip, "the skip branch has no Q/DQ"),
        ("skip", pair_on_the_wrong_branch, "the skip branch has no Q/DQ"),
        ("skip", pairs_on_both_branches, "both branches have Q/DQ"),
        ("skip", bare_projections, "the skip branch has no Q/DQ"),
        ("concat", joined(0.05, 0.04), "2 of 2 inputs quantised, 2 scales"),
        ("concat", joined(0.05, None), "1 of 2 inputs quantised"),
        ("narrow", few_channels(16, 8, 1, 1), "quantised with 8 channels"),
        ("narrow", few_channels(8, 16, 1, 1), "quantised with 8 channels"),
        ("narrow", few_channels(12, 1, 1, 1, group=12), "quantised with 12 channels"),
        ("vector", vector, "a product with a vector"),
        ("vector", vector_without_a_bias, "a product with a vector"),
        ("tail", quantised_tail, "nothing with weights follows"),
        ("types", bytes_inside, "uint8 inside the graph"),
        ("types", long_output, "mask: an output of int64"),
    ],
)
def test_what_is_broken_is_named(rule: str, build: Callable[[], onnx.ModelProto], says: str) -> None:
    model = build()
    found = breaches(model, "8.6")
    assert {line.partition(":")[0] for line in found} == {rule}
    assert any(says in line for line in found), found


def test_bytes_that_are_not_cast_first_are_also_bytes_inside() -> None:
    assert breaches(bytes_not_cast_first(), "8.6") == [
        "door: images: expected uint8 and one Cast to float, got ['Transpose']",
        "types: Transpose_0: uint8 inside the graph",
    ]


def test_which_node_it_is() -> None:
    assert breaches(bare_skip(), "8.6") == ["skip: Add_10: the skip branch has no Q/DQ"]


# What one version takes and another does not.


def test_opsets() -> None:
    old = classifier()
    assert breaches(old, "10")[0] == "types: opset: expected 19 or newer, got 17"
    new = half(old).graph
    assert breaches(new, "8.6")[0] == "types: opset: expected 17 or older, got 19"


def test_half_scales_are_not_for_8_6() -> None:
    made = half(classifier()).graph
    pairs = [node.name for node in made.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert breaches(made, "8.6")[1:] == [f"types: {name}: a scale that is not float32" for name in pairs]


def test_float_in_the_network_is_not_for_10() -> None:
    model = plain_network()
    assert breaches(model, "8.6") == quantised(model) == []
    model.opset_import[0].CopyFrom(helper.make_opsetid("", 19))
    assert breaches(model, "10") == [f"types: {name}: computes in float32" for name in ("Conv_3", "Relu_4", "Conv_5")]
    assert breaches(half(model).graph, "10") == []
