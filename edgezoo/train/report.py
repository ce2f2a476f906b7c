"""Pictures for a person: how a training went, what it confuses, and what it was shown."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgezoo.drawing import draw
from edgezoo.frame import Image
from edgezoo.measure.evaluate import METRICS
from edgezoo.optional import require
from edgezoo.results import Detections, Labels, Result
from edgezoo.train.augment import Shown

MOST_NAMED = 40  # classes that a picture can tell apart


def curves(history: Sequence[Mapping[str, float]]) -> bytes:
    """The learning curves as PNG: loss and its parts on the left, validation metrics on the right."""
    figure, (left, right) = new_figure(2, (11, 4.2))
    epochs = [row["epoch"] for row in history]
    for name in history[0]:
        if name in ("epoch", "lr", "seconds"):
            continue
        axes = right if name in METRICS else left
        values = [row[name] for row in history]
        width = 2.2 if name in ("loss", "map", "top1") else 1.2
        axes.plot(epochs, values, marker=".", linewidth=width, label=METRICS.get(name, name))
    left.set(title="loss (training images)", xlabel="epoch", ylim=(0, None))
    right.set(title="validation images", xlabel="epoch", ylim=(0, 1.02))
    for axes in (left, right):
        axes.legend(frameon=False)
    return as_png(figure)


def confusion(truth: Sequence[int], found: Sequence[int], names: Sequence[str]) -> bytes:
    """Which class (rows) was taken for which (columns), as PNG; shares of a row, with counts."""
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (np.asarray(truth), np.asarray(found)), 1)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(14.0, 2.6 + 0.55 * len(names))
    figure, (axes,) = new_figure(1, (side + 0.6, side))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.grid(False)
    axes.set(title=f"{int(np.trace(counts))} of {int(counts.sum())} right", xlabel="answered", ylabel="is")
    if len(names) <= MOST_NAMED:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        for row, column in zip(*np.nonzero(counts)):
            color = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color)
    return as_png(figure)


def precision_recall(by_class: Mapping[str, Sequence[float]]) -> bytes:
    """Precision over recall at IoU 0.5, a line a class and their mean, as PNG."""
    figure, (axes,) = new_figure(1, (6.4, 5.2))
    recall = np.linspace(0, 1, len(next(iter(by_class.values()))))
    for name, curve in by_class.items():
        label = f"{name}  {np.mean(curve):.2f}" if len(by_class) <= 12 else None
        axes.plot(recall, curve, linewidth=1, alpha=0.8, label=label)
    mean = np.mean([*by_class.values()], axis=0)
    axes.plot(recall, mean, color="black", linewidth=2.2, label=f"mean  {mean.mean():.3f}")
    axes.set(title="validation images, IoU 0.5", xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, title="average precision")
    return as_png(figure)


def sheet(pictures: Sequence[Image], *, columns: int = 4) -> bytes:
    """Pictures in rows, as PNG."""
    cv2 = require("cv2")
    rows = -(-len(pictures) // columns)
    height, width = (4 + max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    canvas = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for k, picture in enumerate(pictures):
        y, x = k // columns * height, k % columns * width
        canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    data: npt.NDArray[np.uint8] = cv2.imencode(".png", canvas)[1]
    return data.tobytes()


def drawn(shown: Shown, names: tuple[str, ...], task: str) -> Image:
    """A training image with what it is to teach."""
    result: Result
    if task == "classify":
        result = Labels(shown.shares, shown.class_ids, names)
    else:
        result = Detections(shown.boxes_xyxy, shown.shares, shown.class_ids, names)
    return draw(shown.pixels, result)


def new_figure(count: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure and its axes side by side, in the house's look; `size` in inches."""
    # Not pyplot: it keeps every figure, and looks for a display.
    figure = require("matplotlib.figure").Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    for each in axes:
        each.grid(alpha=0.25)
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def as_png(figure: Any) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return data.getvalue()
