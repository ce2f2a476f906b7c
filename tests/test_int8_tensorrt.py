"""INT8 for TensorRT: none of its rules is broken, by small networks and real ones, whatever is left in float."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from placement import breaches, quantised
from smallnets import NETS, SIDE, Case, Small, answers, case, decibels, measured, run

from edgezoo import graphs
from edgezoo.bundle import Bundle
from edgezoo.convert import seeded_scenes
from edgezoo.errors import ConvertError, UnknownName
from edgezoo.reduce.int8 import tensorrt
from edgezoo.reduce.int8.calibrate import calibrate
from edgezoo.reduce.int8.tensorrt import THIN, VERSIONS, emit, layers
from edgezoo.reduce.regions import QUANTISERS, plain

Version = Literal["8.6", "10", "11"]
DIGITS = Path(__file__).parents[1] / "models" / "digits" / "bundle"


def emitted(of: Case, version: Version = "10", *floats: str) -> onnx.ModelProto:
    return emit(of.model, of.ranges, floats, oldest=version)


def scales(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    names = {node.input[1] for node in model.graph.node if node.op_type in QUANTISERS}
    return {tensor.name: tensor for tensor in model.graph.initializer if tensor.name in names}


# Small networks.


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("version", VERSIONS)
def test_no_rule_is_broken(net: str, version: Version) -> None:
    of = case(net)
    model = emitted(of, version)
    assert breaches(model, version) == []
    wide = [
        node.name
        for node in of.model.graph.node
        if node.op_type in ("Conv", "ConvTranspose") and net_channels(of.model, node) >= THIN
    ]
    assert quantised(model) == wide == layers(of.model)
    assert len(wide) >= 4
    assert decibels(of.answers, answers(model, of.images)) > 25


def net_channels(model: onnx.ModelProto, node: onnx.NodeProto) -> int:
    """The fewest that go in or come out."""
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    first, second = shapes[node.input[1]][:2]
    return min(first, second * groups)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("version", ["8.6", "10"])
def test_no_rule_is_broken_whatever_is_in_float(net: str, version: Version) -> None:
    of = case(net)
    names = layers(of.model)
    for freed in [[name] for name in names] + [
        [name for name, free in zip(names, np.random.default_rng(seed).random(len(names)) < 0.5) if free]
        for seed in range(10)
    ]:
        model = emitted(of, version, *freed)
        assert breaches(model, version) == []
        assert quantised(model) == [name for name in names if name not in freed]


@pytest.mark.parametrize("version", VERSIONS)
def test_types_are_those_that_the_version_reads(version: Version) -> None:
    of = case("squeezing")
    model = emitted(of, version)
    opset = model.opset_import[0].version
    assert (13 <= opset <= 17) if version == "8.6" else (opset >= 19)
    kinds = {tensor.data_type for tensor in scales(model).values()}
    assert kinds == {TensorProto.FLOAT if version == "8.6" else TensorProto.FLOAT16}
    assert (model.graph.node[0].op_type, list(model.graph.node[0].input)) == ("Cast", ["images"])
    assert [port.type.tensor_type.elem_type for port in model.graph.output] == [TensorProto.FLOAT]


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 19, 20])
@pytest.mark.parametrize("version", ["8.6", "10"])
def test_graphs_of_any_opset(opset: int, version: Version) -> None:
    net = Small()
    x = net.conv(net.conv("pixels", 16, act="Silu"), 16, act="Relu")
    if opset < 18:
        mean = net.add("ReduceMean", x, axes=[2, 3])
    else:
        mean = net.add("ReduceMean", x, net.ints(2, 3), noop_with_empty_axes=0)
    x = net.add("Mul", x, net.conv(mean, 16, kernel=1, act="Sigmoid"))
    up = net.add("Resize", net.conv(x, 16, act="Relu"), net.constant([]), net.constant([1, 1, 2, 2]), mode="nearest")
    graph = net.finished(net.conv(up, 16), opset=opset)
    graph.ir_version = 10
    of = measured(graph)
    model = emitted(of, version)
    onnx.checker.check_model(model, full_check=True)
    assert breaches(model, version) == []
    assert model.ir_version == (8 if version == "8.6" else 10)
    assert decibels(of.answers, answers(model, of.images)) > 25


def test_half_scales_are_those_that_the_weights_were_stored_with() -> None:
    def build(net: Small) -> str:
        x = net.conv("pixels", 16, act="Relu")
        quiet = net.conv(x, 16, kernel=1, weights=net.constant(net.random.normal(size=(16, 16, 1, 1)) * 1e-4))
        return net.conv(net.add("Mul", quiet, net.constant(1e3)), 16)

    of = built(build)
    model = emitted(of)
    found = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    name = quantised(model)[0]
    weights = next(node.input[1] for node in of.model.graph.node if node.name == name)
    steps = found[f"{name}/weights/scale/half"].astype(np.float64).reshape(-1, 1, 1, 1)
    wanted = numpy_helper.to_array(next(each for each in of.model.graph.initializer if each.name == weights))
    assert (np.abs(found[f"{name}/weights/bytes"] * steps - wanted) < 0.501 * steps).all()
    assert decibels(of.answers, answers(model, of.images)) > 25


def test_what_eight_says_ten_says_in_half() -> None:
    """The same pairs, but for scales rounded to what float16 has."""
    of = case("bottlenecks")
    old, new = emitted(of, "8.6"), emitted(of, "10")
    assert quantised(old) == quantised(new)
    steps = [{name: numpy_helper.to_array(each) for name, each in scales(model).items()} for model in (old, new)]
    assert len(steps[0]) == len(steps[1]) > 20
    for name, value in steps[0].items():
        np.testing.assert_allclose(steps[1][f"{name}/half"], value, rtol=2.0**-10)
    assert decibels(answers(old, of.images), answers(new, of.images)) > 30


# The rules, one by one.


def built(build: Callable[[Small], str]) -> Case:
    net = Small()
    return measured(net.finished(build(net)))


def steps_before(model: onnx.ModelProto, node: onnx.NodeProto) -> list[float | None]:
    """The scale of the pair before each input; None where there is none, or one for each channel."""
    made = {name: each for each in model.graph.node for name in each.output}
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    steps = [values[made[name].input[1]] if dequantised(made.get(name)) else None for name in node.input]
    return [None if step is None or step.ndim else float(step) for step in steps]


def dequantised(node: onnx.NodeProto | None) -> bool:
    return node is not None and node.op_type == "DequantizeLinear"


def test_what_meets_in_a_concat_is_on_one_grid_and_on_its_own_elsewhere() -> None:
    def build(net: Small) -> str:
        x = net.conv("pixels", 16, act="Relu")
        loud = net.conv(x, 16, act="Relu", weights=net.constant(net.random.normal(size=(16, 16, 3, 3))))
        both = net.conv(net.add("Concat", x, loud, axis=1), 16, act="Relu")
        return net.conv(net.add("Add", both, net.conv(x, 16)), 16)

    of = built(build)
    model = emitted(of, "8.6")
    assert breaches(model, "8.6") == []
    joined = next(node for node in model.graph.node if node.op_type == "Concat")
    step, other = steps_before(model, joined)
    ends = np.abs(of.ranges[joined.output[0]]).max()
    assert step == other == pytest.approx(ends / 127, rel=1e-6)
    own = [steps_before(model, node)[0] for node in model.graph.node if node.op_type == "Conv"]
    assert np.float32(np.abs(of.ranges["net/Relu_1"]).max() / 127) in own


def skip_from_before(net: Small) -> str:
    """A convolution beside the tensor that it is made of."""
    x = net.conv(net.conv("pixels", 16, act="Relu"), 16, act="Relu")
    return net.conv(net.add("Add", net.conv(x, 16), x, out="sum"), 16)


def two_projections(net: Small) -> str:
    x = net.conv("pixels", 16, act="Relu")
    return net.conv(net.add("Add", net.conv(x, 16), net.conv(x, 16, kernel=1), out="sum"), 16)


def thin_beside_wide(net: Small) -> str:
    """The branch that begins later is the one that stays in float."""
    x = net.conv("pixels", 16, act="Relu")
    wide = net.conv(x, 16)
    thin = net.conv(net.conv(x, 8), 16)
    return net.conv(net.add("Add", wide, thin, out="sum"), 16)


def wide_beside_thin(net: Small) -> str:
    x = net.conv("pixels", 16, act="Relu")
    thin = net.conv(net.conv(x, 8), 16)
    return net.conv(net.add("Add", net.conv(x, 16), thin, out="sum"), 16)


def two_thin_ones(net: Small) -> str:
    x = net.conv("pixels", 16, act="Relu")
    parts = [net.conv(net.conv(x, 8), 16) for _ in range(2)]
    return net.conv(net.add("Add", *parts, out="sum"), 16)


def twice(net: Small) -> str:
    x = net.conv(net.conv("pixels", 16, act="Relu"), 16)
    return net.conv(net.add("Add", x, x, out="sum"), 16)


@pytest.mark.parametrize(
    ("build", "there"),
    [
        (skip_from_before, [False, True]),
        (two_projections, [True, False]),
        (thin_beside_wide, [False, True]),
        (wide_beside_thin, [False, True]),
        (two_thin_ones, [False, False]),
        (twice, [False, False]),
    ],
)
def test_a_sum_has_a_pair_on_the_branch_that_is_not_fused(build: Callable[[Small], str], there: list[bool]) -> None:
    of = built(build)
    for version in ("8.6", "10"):
        model = emitted(of, version)  # type: ignore[arg-type]
        assert breaches(model, version) == []  # type: ignore[arg-type]
        added = next(node for node in model.graph.node if node.output[0] == "net/sum")
        assert [step is not None for step in steps_before(model, added)] == there


def test_channels_are_counted_of_all_groups() -> None:
    def build(net: Small) -> str:
        x = net.conv("pixels", 16, act="Relu")
        x = net.conv(x, 32, groups=16)  # wide for all that each group is one channel
        x = net.conv(x, 32, op="ConvTranspose", groups=16)
        x = net.conv(x, 8, op="ConvTranspose", groups=8)  # thin: eight go out
        return net.conv(x, 16, op="ConvTranspose", groups=4)  # thin: eight come in

    of = built(build)
    assert len(layers(of.model)) == 2
    model = emitted(of)
    assert breaches(model, "10") == []
    assert quantised(model) == layers(of.model)


def test_a_concat_with_a_constant_in_it_stays_in_float() -> None:
    def build(net: Small) -> str:
        x = net.conv("pixels", 16, act="Relu")
        marks = net.constant(net.random.random((1, 2, SIDE, SIDE)))
        joined = net.add("Concat", net.add("ReduceMean", x, axes=[0], keepdims=1), marks, axis=1)
        net.channels[joined] = 18
        return net.conv(net.add("Add", x, net.conv(joined, 16)), 16)

    of = built(build)
    model = emitted(of)
    assert breaches(model, "10") == []
    joined = next(node for node in model.graph.node if node.op_type == "Concat")
    assert steps_before(model, joined) == [None, None]
    assert len(quantised(model)) == 2


def test_values_that_half_cannot_hold_are_kept_in_float() -> None:
    def build(net: Small) -> str:
        x = net.conv("pixels", 16, act="Relu")
        x = net.add("Mul", x, net.constant(3e4), out="loud")
        return net.conv(net.add("Mul", net.conv(x, 16), net.constant(1e-4)), 16)

    of = built(build)
    model = emitted(of)
    assert decibels(of.answers, answers(model, of.images)) > 25
    assert not np.isinf(answers(model, of.images)).any()


# What cannot be.


def test_a_version_that_is_none() -> None:
    with pytest.raises(UnknownName, match=r"12.*8\.6"):
        emitted(case("residual"), "12")  # type: ignore[arg-type]
    assert get_args(Version) == VERSIONS


def test_a_network_of_thin_layers() -> None:
    of = built(lambda net: net.conv(net.conv("pixels", 8, act="Relu"), 8))
    assert layers(of.model) == []
    assert tensorrt.tensors(of.model) == []
    with pytest.raises(ConvertError, match="got none"):
        emitted(of)


# Real networks.


def check(bundle: Bundle, *, wide: int, least: float = -np.inf) -> None:
    """No rule broken for any version, `wide` layers in integers, answers so many decibels from those of float."""
    model = plain(graphs.parse(bundle.read_graph(bundle.artifact())))
    placed = [bundle.manifest.input.place(image)[0] for image in seeded_scenes()[:4]]
    ranges = calibrate(model, placed, tensorrt.tensors(model), method="minmax")["minmax"]
    assert len(layers(model)) == wide
    found = {}
    for version in get_args(Version):
        made = emit(model, ranges, (), oldest=version)
        assert breaches(made, version) == []
        assert quantised(made) == layers(model)
        found[version] = run(made, np.stack(placed[:1]))
    for name, value in run(model, np.stack(placed[:1])).items():
        assert all(np.isfinite(answers[name]).all() for answers in found.values())
        assert min(decibels(value, answers[name]) for answers in found.values()) > least
        np.testing.assert_array_equal(found["10"][name], found["11"][name])


def test_the_built_in_model() -> None:
    check(Bundle.open(DIGITS), wide=70, least=10)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "wide"), [("yolox_nano", 106), ("mobilenet_v2", 51)])
def test_official_weights(name: str, wide: int, official: Callable[[str], Bundle]) -> None:
    """YOLOX by its makers' own graph, of an old opset; drawn scenes are nothing to these, so that answers are noise."""
    check(official(name), wide=wide)
