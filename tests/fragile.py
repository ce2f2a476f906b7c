"""Small convolutional networks that INT8 suits, but for one layer; and labelled scenes whose right answers they know.

The channels of an image go through five convolutions unchanged. One weight of the fragile one is a thousand times the
others, on a channel that is always zero: harmless in float, but on a grid that reaches so far the others are nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

import graphs
import numpy as np
import onnx
from sets import write

from edgezoo.backends import open_backend
from edgezoo.preprocess import Preprocess

RECIPE = Preprocess(size_wh=(64, 64), fit="letterbox", std=(255, 255, 255))
LAYERS = ["first", "second", "fragile", "fourth", "fifth", "head"]
CHANNELS = 16  # fewer are too thin for TensorRT
CELL = 16
GAIN = 25.0


def network(kind: str, *, fragile: float = 1000.0, batch: int | None = None) -> onnx.ModelProto:
    """A raw `classifier` (logits) or `detector` (boxes, scores of a square per cell of 16 px)."""
    net = graphs.Net()
    signal = np.eye(CHANNELS)
    signal[-1] = 0  # the channel that is always zero
    first = np.zeros((CHANNELS, 3))
    first[np.arange(CHANNELS - 1), np.arange(CHANNELS - 1) % 3] = 1
    value = _conv(net, "pixels", "first", first)
    for name in LAYERS[1:-1]:
        weight = signal.copy()
        weight[:-1, -1] = fragile if name == "fragile" else 1
        value = net.add("Relu", _conv(net, value, name, weight))
    head = np.zeros((3, CHANNELS))
    head[np.arange(3), np.arange(3)] = GAIN
    n = batch or "N"
    if kind == "classifier":
        mean = net.add("GlobalAveragePool", value)
        net.add("Flatten", _conv(net, mean, "head", head * CELL), out="logits", axis=1)
        return net.model([n, 3, 64, 64], {"logits": [n, 3]})
    cells = net.add("AveragePool", value, kernel_shape=[CELL, CELL], strides=[CELL, CELL])
    raw = net.add("Sub", _conv(net, cells, "head", head), net.constant(GAIN / 2))
    shaped = net.add("Reshape", net.add("Sigmoid", raw), net.ints(-1 if batch is None else batch, 3, 16))
    scores = net.add("Transpose", shaped, out="scores", perm=[0, 2, 1])
    corners = np.array([(x, y, x + CELL, y + CELL) for y in range(0, 64, CELL) for x in range(0, 64, CELL)])
    nothing = net.add("Mul", net.add("ReduceSum", scores, net.ints(2), keepdims=1), net.constant(0))
    net.add("Add", nothing, net.constant(corners[None]), out="boxes")
    return net.model([n, 3, 64, 64], {"boxes": [n, 16, 4], "scores": [n, 16, 3]})


def _conv(net: graphs.Net, value: str, name: str, weight: np.ndarray) -> str:
    tensor = net.constant(weight[..., None, None])
    net.constants[-1].name = f"{name}.weight"
    assert tensor.startswith("constant_")
    return net.add("Conv", value, f"{name}.weight")


def card(folder: Path, kind: str, *, fragile: float = 1000.0, batch: int | None = None) -> Path:
    """A card with such a network: the classifier is called `colors`, the detector `cells`."""
    model = network(kind, fragile=fragile, batch=batch)
    if kind == "classifier":
        return graphs.write_card(folder, "colors", model, RECIPE, task="classify", decoder='name = "logits"')
    return graphs.write_card(folder, "cells", model, RECIPE)


def scenes(kind: str, folder: Path, count: int, *, first: int = 0) -> Path:
    """Labelled scenes of one bright cell, no two alike: `labels.csv`, or `images/` and `annotations.json`."""
    images = folder / "images" if kind == "detector" else folder
    images.mkdir(parents=True)
    boxes = []
    for k in range(first, first + count):
        x, y = CELL * (k % 4), CELL * (k // 4 % 4)
        write(images / f"{k}.png", graphs.scene((64, 64), (x, y, x + CELL, y + CELL), graphs.COLORS[k % 3], k % 60))
        boxes.append({"id": k, "image_id": k, "category_id": k % 3, "bbox": [x, y, CELL, CELL]})
    if kind == "classifier":
        rows = "".join(f"{k}.png,{k % 3}\n" for k in range(first, first + count))
        (folder / "labels.csv").write_text("file,class_index\n" + rows)
        return folder
    content = {
        "images": [{"id": box["id"], "file_name": f"{box['id']}.png", "width": 64, "height": 64} for box in boxes],
        "annotations": boxes,
        "categories": [{"id": k, "name": name} for k, name in enumerate(graphs.COLORS)],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def bright(count: int, *, first: int = 0) -> list[np.ndarray]:
    """Such scenes as arrays, and nothing on the disk."""
    cells = [((k % 4) * CELL, (k // 4 % 4) * CELL) for k in range(first, first + count)]
    return [
        graphs.scene((64, 64), (x, y, x + CELL, y + CELL), graphs.COLORS[k % 3], k % 60)
        for k, (x, y) in enumerate(cells, first)
    ]


def wrong(graph: bytes, count: int = 12) -> float:
    """Points of such scenes that a classifier takes for another colour."""
    backend = open_backend("onnxruntime", graph)
    scores = backend.run({"images": np.stack(bright(count))})["scores"]
    backend.close()
    return float(100 * np.mean(scores.argmax(axis=1) != np.arange(count) % 3))
