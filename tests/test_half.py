"""FP16: what is half and what is not, casts only where the two meet, and answers that stay right."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import Net
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from quantised import SIDE, Int8, classifier

from edgezoo.backends import open_backend
from edgezoo.bundle import Bundle
from edgezoo.convert import agreement, convert, seeded_scenes
from edgezoo.errors import ConvertError, UnknownName
from edgezoo.reduce.half import half
from edgezoo.reduce.regions import regions
from edgezoo.sources import open_source
from edgezoo.tasks import task

ROOT = Path(__file__).parents[1]
IMAGES = np.random.default_rng(5).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    """The type of every tensor."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {port.name: port.type.tensor_type.elem_type for port in [*graph.value_info, *graph.input, *graph.output]}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


def answers(model: onnx.ModelProto, images: np.ndarray = IMAGES, *, as_it_stands: bool = False) -> dict[str, Any]:
    """What ONNX Runtime says; `as_it_stands`: without its own fusions of Q/DQ, which know no half scales."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if as_it_stands:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([port.name for port in session.get_outputs()], session.run(None, {"images": images})))


def exactly(model: onnx.ModelProto) -> dict[str, Any]:
    """What ONNX's own reference says, which rounds to half wherever the graph does."""
    evaluator = ReferenceEvaluator(model)
    return dict(zip(evaluator.output_names, evaluator.run(None, {"images": IMAGES})))


def detector() -> onnx.ModelProto:
    """A door, a network with a skip branch, a tail that goes to large numbers; no node has a name."""
    net = Int8()
    first = net.conv(net.door(), net.plain(8, 3, 3, 3), out_channels=8)
    added = net.add("Add", first, net.conv(first, net.plain(8, 8, 3, 3), out_channels=8))
    raw = net.add("Conv", added, net.plain(4, 8, 1, 1))
    flat = net.add("Flatten", net.add("Sigmoid", raw))
    return unnamed(net.finished(net.add("Add", flat, net.constant(4096.03), out="boxes"), 4 * SIDE * SIDE))


def unnamed(model: onnx.ModelProto) -> onnx.ModelProto:
    for node in model.graph.node:
        node.name = ""
    return model


def of_type(model: onnx.ModelProto, *ops: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in ops]


# What is half.


def test_the_network_is_half_and_door_and_tail_are_float() -> None:
    made = half(detector())
    kind = kinds(made.graph)
    for node in of_type(made.graph, "Conv", "Relu"):
        assert {kind[name] for name in [*node.input, *node.output]} == {HALF}, node.name
    for node in of_type(made.graph, "Mul", "Transpose", "Sigmoid", "Flatten"):
        assert {kind[name] for name in [*node.input, *node.output]} == {FLOAT}, node.name
    skip, last = of_type(made.graph, "Add")
    assert [kind[skip.output[0]], kind[last.output[0]], kind[last.input[1]]] == [HALF, FLOAT, FLOAT]
    assert list(made.kept.values()) == ["door"] * 3 + ["decode tail"] * 3


def test_casts_stand_only_where_the_two_meet() -> None:
    made = half(detector()).graph
    casts = [(node.input[0], node.attribute[0].i) for node in of_type(made, "Cast")]
    assert casts == [("images", FLOAT), ("Mul_2", HALF), ("Conv_8", FLOAT)]


def test_inputs_outputs_and_what_was_given_stay_as_they_are() -> None:
    given = detector()
    before = given.SerializeToString()
    made = half(given).graph
    assert given.SerializeToString() == before
    assert (list(made.graph.input), list(made.graph.output)) == (list(given.graph.input), list(given.graph.output))
    assert made.opset_import[0].version == 17  # only scales need more


def test_names_do_not_matter() -> None:
    """Door and tail are where they are, whatever their nodes and tensors are called."""
    renamed = detector()
    for node in renamed.graph.node:
        node.name = f"door/{node.op_type}"
        node.input[:] = [name if name == "images" else f"exit/{name}" for name in node.input]
        node.output[:] = [name if name == "boxes" else f"exit/{name}" for name in node.output]
    for place, node in enumerate(renamed.graph.node):
        node.name += f"_{place}"
    for tensor in renamed.graph.initializer:
        tensor.name = f"exit/{tensor.name}"
    assert list(half(renamed).kept.values()) == list(half(detector()).kept.values())


def test_a_tail_is_not_rounded() -> None:
    """At 4096 half counts in steps of four."""
    model = detector()
    made = half(model).graph
    wide = answers(model)["boxes"]
    for narrow in (answers(made)["boxes"], exactly(made)["boxes"]):
        np.testing.assert_allclose(narrow, wide, rtol=0, atol=2e-3)
    assert np.ptp(wide) > 0.2


def test_a_constant_of_both_sides_is_exact_in_the_tail() -> None:
    net = Int8()
    shared = net.constant(0.1)
    inside = net.add("Mul", net.conv(net.door(), net.plain(8, 3, 3, 3), out_channels=8), shared)
    raw = net.add("Conv", inside, net.plain(4, 8, 1, 1))
    made = half(net.finished(net.add("Mul", raw, shared, out="boxes"), 4, SIDE, SIDE)).graph
    value = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    used = [value[node.input[1]] for node in of_type(made, "Mul")[1:]]
    assert [(entry.dtype, entry.item()) for entry in used] == [
        (np.float16, np.float16(0.1)),
        (np.float32, np.float32(0.1)),
    ]


def test_an_output_of_the_network_itself_is_float() -> None:
    net = Int8()
    first = net.add("Conv", net.door(), net.plain(8, 3, 1, 1), out="boxes")
    net.add("Conv", first, net.plain(4, 8, 1, 1), out="more")
    model = net.finished("boxes", 8, SIDE, SIDE)
    model.graph.output.append(helper.make_tensor_value_info("more", FLOAT, ["N", 4, SIDE, SIDE]))
    made = half(model).graph
    for name, wide in answers(model).items():
        np.testing.assert_allclose(exactly(made)[name], wide, rtol=0, atol=1e-2)
    assert len(of_type(made, "Cast")) == 4  # and the second Conv reads the half that the first one wrote


def test_what_onnx_or_arithmetic_wants_in_float_gets_it() -> None:
    net = Int8()
    first = net.conv(net.door(), net.plain(8, 3, 3, 3), out_channels=8)
    larger = net.add("Resize", first, "", net.constant([1, 1, 2, 2]), mode="nearest")
    summed = net.add("CumSum", larger, net.constant(3, np.int64))
    filled = net.add("ConstantOfShape", net.add("Shape", summed))
    total = net.add("Add", net.add("Add", summed, filled), net.add("Cast", net.ints(1), to=FLOAT))
    model = net.finished(net.add("Conv", total, net.plain(4, 8, 1, 1), out="boxes"), 4, 2 * SIDE, 2 * SIDE)
    made = half(model)
    kind = kinds(made.graph)
    resize, running = of_type(made.graph, "Resize", "CumSum")
    assert [kind[name] for name in [resize.input[0], resize.input[2], resize.output[0]]] == [HALF, FLOAT, HALF]
    assert kind[running.output[0]] == FLOAT
    assert made.kept[running.name] == "CumSum needs float32"
    np.testing.assert_allclose(answers(made.graph)["boxes"], answers(model)["boxes"], rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize(
    "constant",
    [
        {"value": numpy_helper.from_array(np.float32([0.5, 2]).reshape(2, 1, 1))},
        {"value_float": 0.5},
        {"value_floats": [0.5] * SIDE},
    ],
)
def test_constants_may_be_nodes(constant: dict[str, Any]) -> None:
    net = Int8()
    first = net.conv(net.door(), net.plain(2, 3, 3, 3), out_channels=2)
    scaled = net.add("Mul", first, net.add("Constant", **constant))
    model = net.finished(net.add("Conv", scaled, net.plain(4, 2, 1, 1), out="boxes"), 4, SIDE, SIDE)
    made = half(model).graph
    assert kinds(made)[of_type(made, "Mul")[1].input[1]] == HALF
    np.testing.assert_allclose(answers(made)["boxes"], answers(model)["boxes"], rtol=0, atol=1e-2)


def test_functions_are_written_out() -> None:
    model = detector()
    model.opset_import.append(helper.make_opsetid("own", 1))
    relu = of_type(model, "Relu")[0]
    relu.op_type, relu.domain = "Positive", "own"
    body = [helper.make_node("Relu", ["x"], ["y"])]
    model.functions.append(helper.make_function("own", "Positive", ["x"], ["y"], body, [model.opset_import[0]]))
    assert len(of_type(half(model).graph, "Relu")) == 2


# What half cannot hold.


def loud(first: float, last: float) -> onnx.ModelProto:
    """Values times `first`, a Relu, values times `last`, in two 1x1 convolutions."""
    net = Int8()
    one = net.add("Conv", net.door(), net.constant(np.full((4, 3, 1, 1), first)))
    shaped = net.add("Reshape", net.add("Relu", one), net.ints(0, 4, SIDE, SIDE))
    two = net.add("Conv", shaped, net.constant(np.full((4, 4, 1, 1), last)))
    three = net.add("Conv", two, net.constant(np.full((2, 4, 1, 1), 0.02)))
    return net.finished(net.add("Sigmoid", three, out="scores"), 2, SIDE, SIDE)


def measured(model: onnx.ModelProto) -> dict[str, tuple[float, float]]:
    """The smallest and largest value of every Conv's and Relu's output."""
    more = onnx.ModelProto()
    more.CopyFrom(model)
    for node in of_type(model, "Conv", "Relu"):
        more.graph.output.append(helper.make_tensor_value_info(node.output[0], FLOAT, None))
    return {name: (float(value.min()), float(value.max())) for name, value in answers(more).items()}


def test_what_overflows_stays_float() -> None:
    model = loud(6e4, 2e-5)
    wide = answers(model)["scores"]
    ranges = measured(model)
    assert max(high for _, high in ranges.values()) > 65504
    blind, warned = half(model), half(model, ranges=ranges)
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.allclose(exactly(blind.graph)["scores"], wide, atol=0.05)
    np.testing.assert_allclose(exactly(warned.graph)["scores"], wide, rtol=0, atol=2e-3)
    reasons = [reason.partition(" reaches")[0] for reason in warned.kept.values()]
    assert reasons == ["door"] * 3 + ["Conv_3", "Relu_4", "Relu_4", "Relu_4", "decode tail"]
    kind = kinds(warned.graph)
    assert [kind[node.output[0]] for node in of_type(warned.graph, "Conv")] == [FLOAT, FLOAT, HALF]


@pytest.mark.parametrize("span", [(-17000.0, 1.0), (0.0, float("inf")), (float("nan"), 0.0), (-1e-6, 1e-6)])
def test_a_margin_is_left(span: tuple[float, float]) -> None:
    """A quarter of half's range, for images that calibration did not see; and nothing that underflows as a whole."""
    quiet = half(loud(1, 1), ranges={"Relu_4": (0, 16000), "Conv_3": (0, 0)})
    assert set(quiet.kept.values()) == {"door", "decode tail"}
    assert len(half(loud(1, 1), ranges={"Relu_4": span}).kept) == len(quiet.kept) + 3


@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_weights_that_do_not_fit_stay_float(factor: float) -> None:
    model = loud(factor, 1 / factor)
    reasons = [reason for reason in half(model).kept.values() if reason.startswith("the largest value of")]
    assert [float(reason.split()[-1]) for reason in reasons] == [factor, 1 / factor]
    made = half(model, ranges=measured(model)).graph
    np.testing.assert_allclose(exactly(made)["scores"], answers(model)["scores"], rtol=0, atol=2e-3)


def test_a_bias_may_vanish() -> None:
    net = Int8()
    one = net.add("Conv", net.door(), net.plain(4, 3, 1, 1), net.constant([1e-9] * 4))
    two = net.add("Conv", one, net.plain(4, 4, 1, 1), net.constant([1e6] * 4))
    kept = half(net.finished(net.add("Sigmoid", two, out="scores"), 4, SIDE, SIDE)).kept
    assert list(kept) == ["Cast_0", "Transpose_1", "Mul_2", "Conv_4", "Sigmoid_5"]


def test_a_weight_of_some_small_values_is_half() -> None:
    model = loud(1, 1)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == of_type(model, "Conv")[1].input[1])
    value = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4, 1, 1) ** 12
    value[0, 0] = 1e-12
    weight.CopyFrom(numpy_helper.from_array(value, weight.name))
    made = half(model)
    assert set(made.kept.values()) == {"door", "decode tail"}
    used = next(t for t in made.graph.graph.initializer if t.name == of_type(made.graph, "Conv")[1].input[1])
    assert numpy_helper.to_array(used)[0, 0] > 0  # as a scale must be


def test_nodes_asked_for_stay_float() -> None:
    model = loud(1, 1)
    name = of_type(model, "Conv")[1].name
    made = half(model, keep=[name])
    assert made.kept[name] == "asked for"
    assert [kinds(made.graph)[node.output[0]] for node in of_type(made.graph, "Conv")] == [HALF, FLOAT, HALF]
    with pytest.raises(UnknownName, match=r"no node is called 'Conv_33'; did you mean 'Conv_3'\?"):
        half(model, keep=["Conv_33"])


# Q/DQ.


@pytest.mark.parametrize("stored", [True, False])
def test_scales_are_half_and_pairs_stay_whole(stored: bool) -> None:
    model = classifier(stored=stored)
    made = half(model).graph
    kind = kinds(made)
    assert made.opset_import[0].version == 19
    pairs = of_type(made, "QuantizeLinear", "DequantizeLinear")
    assert len(pairs) == len(of_type(model, "QuantizeLinear", "DequantizeLinear"))
    assert {kind[node.input[1]] for node in pairs} == {HALF}
    assert {kind[node.input[2]] for node in pairs} == {TensorProto.INT8}
    makers = {name: node.op_type for node in made.graph.node for name in node.output}
    read = [[makers.get(name) for name in node.input[:2]] for node in of_type(made, "Conv")]
    assert read == [["Cast", None]] + [["DequantizeLinear"] * 2] * 3
    wide, narrow = (answers(graph, as_it_stands=True)["scores"] for graph in (model, made))
    np.testing.assert_allclose(narrow, wide, rtol=0, atol=0.02)
    assert wide.max() > 0.2


def test_a_pair_stays_float_with_the_node_it_is_for() -> None:
    model = classifier()
    conv = of_type(model, "Conv")[2]
    made = half(model, keep=[conv.name])
    kind = kinds(made.graph)
    kept = next(node for node in made.graph.graph.node if node.name == conv.name)
    assert [kind[name] for name in kept.input] == [FLOAT] * 3
    makers = {name: node for node in made.graph.graph.node for name in node.output}
    assert [makers[name].op_type for name in kept.input[:2]] == ["DequantizeLinear"] * 2
    reasons = [made.kept[makers[name].name] for name in kept.input[:2]]
    assert reasons == ["read by a node that stays float32"] * 2


def test_what_does_not_fit_does_not_fit_behind_a_pair() -> None:
    model = classifier()
    added = of_type(model, "Add")[0].output[0]
    made = half(model, ranges={added: (0, 1e5)})
    reached = [name for name, reason in made.kept.items() if reason == f"{added} reaches 1e+05"]
    assert [name.partition("_")[0] for name in reached] == ["Add", "QuantizeLinear", "DequantizeLinear", "Conv"]


def test_the_parts_of_a_quantised_graph() -> None:
    """The door ends where a tensor is first quantised, not at the first Conv."""
    net = Int8()
    last = net.conv(net.pair(net.door()), net.weight(16, 3, 3, 3), out_channels=16)
    graph = net.finished(net.add("Sigmoid", last, out="scores"), 16, SIDE, SIDE).graph
    parts = regions(graph)

    def ops(places: frozenset[int]) -> list[str]:
        return [graph.node[place].op_type for place in sorted(places)]

    assert ops(parts.door) == ["Cast", "Transpose", "Mul"]
    assert ops(parts.tail) == ["Relu", "Sigmoid"]
    assert ops(parts.weighted) == ["Conv"]
    assert ops(parts.constant) == ["DequantizeLinear"]


# What cannot be done.


def test_a_network_without_weights_is_refused() -> None:
    net = Int8()
    model = net.finished(net.add("Identity", net.door(), out="boxes"), 3, SIDE, SIDE)
    with pytest.raises(ConvertError, match="expected a network with weights"):
        half(model)


def test_control_flow_is_refused() -> None:
    net = Net()
    branch = helper.make_graph(
        [helper.make_node("Identity", ["pixels"], ["y"])], "b", [], [helper.make_tensor_value_info("y", FLOAT, None)]
    )
    net.add("If", net.constant(True, bool), then_branch=branch, else_branch=branch, out="boxes")
    with pytest.raises(ConvertError, match="expected a graph without branches and loops, got If"):
        half(net.model(["N", 3, 8, 8], {"boxes": ["N", 3, 8, 8]}))


def test_an_op_that_is_not_onnx_is_refused() -> None:
    model = detector()
    model.opset_import.append(helper.make_opsetid("own", 1))
    relu = of_type(model, "Relu")[0]
    relu.op_type, relu.domain = "Mystery", "own"
    with pytest.raises(ConvertError, match=r"the type of 'Relu_4' is not known: ONNX has no rule for Mystery"):
        half(model)


# Real networks.


def differences(bundle: Bundle, images: list[Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """How far the answers of a bundle's graph in half are from those it was made of."""
    model = onnx.load(bundle.folder / "model.fp32.onnx")
    made = half(model)
    assert set(made.kept.values()) <= {"door", "decode tail"}
    convs = of_type(made.graph, "Conv", "Gemm")
    assert {kinds(made.graph)[node.output[0]] for node in convs} == {HALF}
    wide, narrow = (open_backend("onnxruntime", graph.SerializeToString()) for graph in (model, made.graph))
    both = [[agreement.infer_one(one, image, bundle.manifest.input) for image in images] for one in (wide, narrow)]
    monkeypatch.setattr(agreement, "check", lambda worst, tolerance: None)  # the budget of half is for others to set
    return agreement.measure(task(bundle.manifest.task), *both)


def test_the_built_in_model(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [frame.image for frame in open_source(str(ROOT / "models" / "digits" / "clip.mp4"))][::50]
    worst = differences(Bundle.open(ROOT / "models" / "digits" / "bundle"), images, monkeypatch)
    assert worst["scored_boxes_px"] < 0.05
    assert worst["scores"] < 0.005


@pytest.mark.parametrize(("name", "bounds"), [("yolox_nano", {"scores": 0.03}), ("mobilenet_v2", {"scores": 0.03})])
@pytest.mark.filterwarnings("ignore")
def test_official_weights(
    name: str, bounds: dict[str, float], official: Callable[[str], Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    worst = differences(official(name), seeded_scenes(), monkeypatch)
    assert all(worst[key] < bound for key, bound in bounds.items()), worst


@pytest.mark.filterwarnings("ignore")
def test_squeeze_and_excitation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="the network is written in it")
    pytest.importorskip("onnxscript", reason="torch exports to ONNX with it")
    torch.manual_seed(0)
    network = importlib.import_module("edgezoo.nets.mobilenet_v3").build(classes=1000, variant="small")
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 224, 224))  # BatchNorms that have seen something
    torch.save(network.state_dict(), tmp_path / "net.pth")
    made = convert("mobilenet_v3_small", tmp_path / "out", weights=tmp_path / "net.pth")
    assert differences(made, seeded_scenes(), monkeypatch)["scores"] < 0.03
