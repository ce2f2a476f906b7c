"""Small raw networks made in memory, whose right answers are known, and the cards that go with them.

Each is "trained" for a recipe: it undoes mean and std itself and names its classes by the channel order it was given,
so that a door which feeds it in another way makes it answer wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgezoo.frame import Image
from edgezoo.preprocess import Preprocess

COLORS = ("blue", "green", "red")  # class k is the colour of channel k in BGR
BRIGHT = 200.5


class Net:
    """A raw graph under construction: nodes in the order they are added, one output each."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, op: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        out = out or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], **attributes))
        return out

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def model(
        self,
        input_shape: Sequence[int | str],
        outputs: dict[str, Sequence[int | str]],
        *,
        opset: int = 17,
        input_type: int = TensorProto.FLOAT,
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "tiny",
            [helper.make_tensor_value_info("pixels", input_type, list(input_shape))],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in outputs.items()],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def square_finder(
    recipe: Preprocess, *, batch: int | None = None, frozen: bool = False, box_form: str = "xyxy"
) -> onnx.ModelProto:
    """A detector: `boxes` (N, 1, 4) of what is brighter than 200 in any channel, `scores` (N, 1, 3) by its colour.

    `batch` states a fixed size. `frozen`: the size is also in a Reshape, as exporters write it.
    """
    width, height = recipe.size_wh
    net = Net()
    pixels = _undone(net, recipe)
    brightest = net.add("ReduceMax", pixels, axes=[1], keepdims=1)
    mask = net.add("Cast", net.add("Greater", brightest, net.constant(BRIGHT)), to=TensorProto.FLOAT)
    columns = net.add("ReduceMax", mask, axes=[1, 2], keepdims=0)  # (N, W)
    rows = net.add("ReduceMax", mask, axes=[1, 3], keepdims=0)  # (N, H)
    x1, x2 = _ends(net, columns, width)
    y1, y2 = _ends(net, rows, height)
    if box_form == "cxcywh":
        half = net.constant(0.5)
        sides = [
            net.add("Mul", net.add("Add", x1, x2), half),
            net.add("Mul", net.add("Add", y1, y2), half),
            net.add("Sub", x2, x1),
            net.add("Sub", y2, y1),
        ]
    else:
        sides = [x1, y1, x2, y2]
    flat = net.add("Concat", *sides, axis=1)  # (N, 4)
    if frozen:
        net.add("Reshape", flat, net.ints(batch or 1, 1, 4), out="boxes")
    else:
        net.add("Unsqueeze", flat, net.ints(1), out="boxes")
    lit = net.add("ReduceSum", net.add("Mul", pixels, mask), net.ints(2, 3), keepdims=0)  # (N, 3)
    count = net.add("Max", net.add("ReduceSum", mask, net.ints(2, 3), keepdims=0), net.constant(1))  # (N, 1)
    share = net.add("Div", lit, net.add("Mul", count, net.constant(255)))
    net.add("Unsqueeze", _by_color(net, share, recipe), net.ints(1), out="scores")
    n = batch or "N"
    return net.model([n, 3, height, width], {"boxes": [n, 1, 4], "scores": [n, 1, 3]})


def color_classifier(
    recipe: Preprocess, *, batch: int | None = None, free_size: bool = False, opset: int = 17, softmax: bool = False
) -> onnx.ModelProto:
    """A classifier: `logits` (N, 3), a twentieth of the mean of blue, green and red; or `probabilities`."""
    width, height = recipe.size_wh
    net = Net()
    mean = net.add("Flatten", net.add("GlobalAveragePool", _undone(net, recipe)), axis=1)
    logits = net.add("Div", _by_color(net, mean, recipe), net.constant(20), out=None if softmax else "logits")
    if softmax:
        net.add("Softmax", logits, out="probabilities", axis=1)
    n = batch or "N"
    sides: list[int | str] = ["H", "W"] if free_size else [height, width]
    return net.model([n, 3, *sides], {"probabilities" if softmax else "logits": [n, 3]}, opset=opset)


def constant_answers(
    recipe: Preprocess, answers: dict[str, np.ndarray], *, batch: int | None = None
) -> onnx.ModelProto:
    """A graph that gives every image the same raw outputs (1, …); the image is added with weight zero."""
    width, height = recipe.size_wh
    net = Net()
    n = batch or "N"
    trace = net.add("Mul", net.add("ReduceMean", "pixels", axes=[1, 2, 3], keepdims=0), net.constant(0))  # (N,)
    for name, value in answers.items():
        shape = net.ints(-1, *[1] * (value.ndim - 1))
        net.add("Add", net.add("Reshape", trace, shape), net.constant(value), out=name)
    return net.model([n, 3, height, width], {name: [n, *value.shape[1:]] for name, value in answers.items()})


def write_card(folder: Path, name: str, model: onnx.ModelProto, recipe: Preprocess, **more: Any) -> Path:
    """`<name>.onnx`, a card and its labels in `folder`; the card's path. `more` goes to `card_text`."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / f"{name}.onnx")
    (folder / "labels.txt").write_text("\n".join(COLORS) + "\n", "utf-8")
    card = folder / f"{name}.toml"
    card.write_text(card_text(name, recipe, **more), "utf-8")
    return card


def card_of(kind: str, folder: Path, recipe: Preprocess, *, batch: int | None = None) -> Path:
    """A card with its graph, `squares` or `colors`; `batch`: the size that the graph is frozen at."""
    if kind == "squares":
        return write_card(folder, kind, square_finder(recipe, batch=batch, frozen=batch is not None), recipe)
    return write_card(
        folder, kind, color_classifier(recipe, batch=batch), recipe, task="classify", decoder='name = "logits"'
    )


def card_text(
    name: str,
    recipe: Preprocess,
    *,
    task: str = "detect",
    decoder: str = 'name = "boxes-scores"',
    file: str | None = None,
    labels: str = "labels.txt",
    licence: str = "MIT",
) -> str:
    """A card for the graph `file` beside it."""
    return f"""name = "{name}"
task = "{task}"
file = "{file or f"{name}.onnx"}"
labels = "{labels}"

[licence]
code = "{licence}"
weights = "{licence}"
data = "drawn by the test"

[input]
size_wh = {list(recipe.size_wh)}
fit = "{recipe.fit}"
align = "{recipe.align}"
pad = {recipe.pad}
crop = {recipe.crop}
interpolation = "{recipe.interpolation}"
color = "{recipe.color}"
mean = {list(recipe.mean)}
std = {list(recipe.std)}

[decoder]
{decoder}
"""


def scene(size_wh: tuple[int, int], box_xyxy: tuple[int, int, int, int], color: str = "red", ground: int = 40) -> Image:
    """A dark image with one bright square in it."""
    image = np.full((size_wh[1], size_wh[0], 3), ground, np.uint8)
    x1, y1, x2, y2 = box_xyxy
    image[y1:y2, x1:x2] = 0
    image[y1:y2, x1:x2, COLORS.index(color)] = 255
    return image


def _undone(net: Net, recipe: Preprocess) -> str:
    """The pixels as they were before mean and std, still in the recipe's channel order."""
    std, mean = (np.reshape(value, (1, 3, 1, 1)) for value in (recipe.std, recipe.mean))
    return net.add("Add", net.add("Mul", "pixels", net.constant(std)), net.constant(mean))


def _by_color(net: Net, channels: str, recipe: Preprocess) -> str:
    """(N, 3) per channel of the recipe as (N, 3) per colour of `COLORS`."""
    order = [recipe.color.index(channel) for channel in "BGR"]
    return net.add("Gather", channels, net.ints(*order), axis=1)


def _ends(net: Net, projection: str, size: int) -> tuple[str, str]:
    """(N, 1) start and end of what is 1 in a projection (N, `size`)."""
    start = net.add("ArgMax", projection, axis=1, keepdims=1)
    backwards = net.add("Slice", projection, net.ints(-1), net.ints(-size - 1), net.ints(1), net.ints(-1))
    behind = net.add("ArgMax", backwards, axis=1, keepdims=1)
    end = net.add("Sub", net.ints(size), behind)
    return net.add("Cast", start, to=TensorProto.FLOAT), net.add("Cast", end, to=TensorProto.FLOAT)
