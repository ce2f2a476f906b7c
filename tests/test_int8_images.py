"""An image's bytes as a quantised tensor: taken where they say the same as floats, and only there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from smallnets import IMAGENET, NETS, SIDE, YOLOX, Case, Small, answers, case, decibels, measured

from edgezoo.preprocess import Preprocess
from edgezoo.reduce.int8 import onnxruntime as room
from edgezoo.reduce.int8.onnxruntime import emit, layers

BGR_IMAGENET = dataclasses.replace(IMAGENET, color="BGR", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395))
CENTRED = dataclasses.replace(YOLOX, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
APART = dataclasses.replace(IMAGENET, mean=(20.0, 120.0, 220.0), std=(60.0, 60.0, 60.0))


def takes_bytes(model: onnx.ModelProto) -> bool:
    """Whether the bytes go to a product as they come, and nothing makes bytes of the door's floats."""
    readers = [node for node in model.graph.node if node.input[0] == "images"]
    door = {"images"}
    for node in model.graph.node:
        if door.intersection(node.input) and node.op_type in (
            "Cast",
            "Transpose",
            "Gather",
            "Sub",
            "Mul",
            "Slice",
            "Concat",
        ):
            door.update(node.output)
    quantised = [node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] in door]
    bytes_first = [node.op_type for node in readers] == ["Transpose"]
    assert bytes_first != bool(quantised)
    return bytes_first


def one(recipe: Preprocess, build: Callable[[Small], str]) -> tuple[Case, onnx.ModelProto]:
    net = Small(recipe)
    of = measured(net.finished(build(net)))
    return of, emit(of.model, of.ranges, ())


# Taken.


@pytest.mark.parametrize("recipe", [YOLOX, IMAGENET, BGR_IMAGENET, CENTRED], ids=["yolox", "rgb", "bgr", "centred"])
@pytest.mark.parametrize("net", ["residual", "pyramid"])
def test_bytes_say_what_floats_say(net: str, recipe: Preprocess, monkeypatch: pytest.MonkeyPatch) -> None:
    of = case(net, recipe)
    taken = emit(of.model, of.ranges, ())
    monkeypatch.setattr(room, "take_bytes", lambda wiring, node: None)
    through_floats = emit(of.model, of.ranges, ())
    assert (takes_bytes(taken), takes_bytes(through_floats)) == (True, False)
    near, nearer = (decibels(of.answers, answers(model, of.images)) for model in (taken, through_floats))
    assert near > nearer - 4, "of images of so few pixels, many are at the border"


@pytest.mark.parametrize("bias", [True, False])
def test_without_a_border_the_mean_may_be_anything(bias: bool) -> None:
    def build(net: Small) -> str:
        weights = net.constant(net.random.normal(size=(8, 3, 3, 3)) / 5)
        return net.add("Conv", "pixels", weights, *[net.constant(net.random.normal(size=8))] * bias)

    of, model = one(APART, build)
    assert takes_bytes(model)
    assert decibels(of.answers, answers(model, of.images)) > 38


@pytest.mark.parametrize("recipe", [YOLOX, CENTRED, IMAGENET])
def test_a_border_of_zeros_is_one_of_bytes(recipe: Preprocess) -> None:
    of, model = one(recipe, lambda net: net.conv("pixels", 8, kernel=5))
    assert takes_bytes(model)
    found = answers(model, of.images)
    assert decibels(of.answers[..., 2:-2, 2:-2], found[..., 2:-2, 2:-2]) > 36
    assert decibels(of.answers[..., 0, :], found[..., 0, :]) > (20 if recipe is IMAGENET else 36)


@pytest.mark.parametrize("color", ["RGB", "BGR"])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_each_channel_is_itself(color: str, channel: int) -> None:
    recipe = dataclasses.replace(APART, color=color)
    weights = np.zeros((1, 3, 1, 1))
    weights[0, channel] = 60
    of, model = one(recipe, lambda net: net.add("Conv", "pixels", net.constant(weights)))
    assert takes_bytes(model)
    images = np.random.default_rng(7).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    wanted = images[..., channel if color == "BGR" else 2 - channel] - np.array(recipe.mean)[channel]
    low, high = of.ranges["net/Conv_0"]
    found = answers(model, images)[:, 0]
    np.testing.assert_allclose(found, wanted.clip(low, high), atol=1.1 * (high - low) / 255)


# Not taken.


def test_a_border_that_bytes_cannot_say() -> None:
    for padded in ({"pads": [1, 1, 1, 1]}, {"auto_pad": "SAME_UPPER"}, {"pads": [0, 0, 0, 1]}):

        def build(net: Small, padded: dict[str, object] = padded) -> str:
            return net.add("Conv", "pixels", net.constant(net.random.normal(size=(8, 3, 3, 3)) / 5), **padded)

        of, model = one(APART, build)
        assert not takes_bytes(model)
        assert decibels(of.answers, answers(model, of.images)) > 36


def test_a_first_layer_in_float() -> None:
    of = case("residual")
    model = emit(of.model, of.ranges, layers(of.model)[:1])
    assert [node.op_type for node in model.graph.node if node.input[0] == "images"] == ["Cast"]


def depthwise(net: Small) -> str:
    return net.conv(net.conv("pixels", 6, groups=3), 16)


def transposed(net: Small) -> str:
    return net.conv(net.conv("pixels", 16, op="ConvTranspose"), 16)


def a_matrix(net: Small) -> str:
    return net.conv(net.add("MatMul", "pixels", net.constant(net.random.normal(size=(SIDE, SIDE)) / 100)), 16)


def focus(net: Small) -> str:
    """The four pixels of each square side by side, as YOLOX begins."""
    ends = [net.ints(place) for place in (SIDE, 3)]
    parts = [
        net.add("Slice", net.add("Slice", "pixels", net.ints(y), ends[0], net.ints(2), net.ints(2)),
                net.ints(x), ends[0], net.ints(3), net.ints(2))
        for y in (0, 1) for x in (0, 1)
    ]  # fmt: skip
    return net.conv(net.add("Concat", *parts, axis=1), 16)


def two_layers(net: Small) -> str:
    return net.conv(net.add("Concat", net.conv("pixels", 16), net.conv("pixels", 16, kernel=1), axis=1), 16)


def pixels_again(net: Small) -> str:
    return net.conv(net.add("Concat", net.conv("pixels", 16), "pixels", axis=1), 16)


def a_mean_for_each_pixel(net: Small) -> str:
    shifted = net.add("Sub", "pixels", net.constant(net.random.normal(size=(3, SIDE, SIDE))))
    return net.conv(shifted, 16)


def a_factor_for_each_column(net: Small) -> str:
    return net.conv(net.add("Mul", "pixels", net.constant(np.linspace(0.5, 1, SIDE))), 16)


def one_of_the_channels(net: Small) -> str:
    grey = net.add("Gather", "pixels", net.ints(1), axis=1)
    net.channels[grey] = 1
    return net.conv(grey, 16)


def a_weighted_grey(net: Small) -> str:
    mixed = net.add("Mul", "pixels", net.constant(np.array([0.1, 0.6, 0.3]).reshape(3, 1, 1)))
    grey = net.add("ReduceSum", mixed, net.ints(1), keepdims=1)
    net.channels[grey] = 1
    return net.conv(grey, 16)


def a_door_of_its_own(net: Small) -> str:
    """What may be taken, for all that the network does it itself, and the colours last."""
    mean = net.constant(np.array([10, 30, 60]).reshape(3, 1, 1))
    x = net.add("Sub", net.add("Mul", "pixels", net.constant(0.5)), mean)
    x = net.add("Mul", x, net.constant(np.array([0.3, 0.1, 0.2]).reshape(1, 3, 1, 1)))
    return net.conv(net.conv(net.add("Gather", x, net.ints(1, 2, 0), axis=1), 16, pad=0), 16)


@pytest.mark.parametrize(
    "build",
    [
        depthwise,
        transposed,
        a_matrix,
        focus,
        two_layers,
        pixels_again,
        a_mean_for_each_pixel,
        a_factor_for_each_column,
        one_of_the_channels,
        a_weighted_grey,
        a_door_of_its_own,
    ],
)
def test_other_beginnings(build: Callable[[Small], str]) -> None:
    of, model = one(YOLOX, build)
    starts = [node.op_type for node in model.graph.node if node.input[0] == "images"]
    assert starts == ["Transpose" if build is a_door_of_its_own else "Cast"]
    assert decibels(of.answers, answers(model, of.images)) > 27


def test_every_network_of_these_tests_takes_them() -> None:
    assert all(takes_bytes(emit(case(net).model, case(net).ranges, ())) for net in NETS)
