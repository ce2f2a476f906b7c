"""The ranges of a graph's tensors, from images: which part of the real numbers the bytes of each have to cover."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgezoo.errors import ConvertError
from edgezoo.frame import Image
from edgezoo.optional import require
from edgezoo.reduce.int8.histogram import Histogram
from edgezoo.reduce.regions import Ranges

if TYPE_CHECKING:
    import onnx

METHODS = ("error", "average", "percentile", "entropy", "minmax")
"""Least squared error; mean of each image's ends; 99.99 percent; least divergence; the ends of all."""
PERCENT = 99.99

_COUNTED = frozenset({"entropy", "error", "percentile"})


@dataclass(slots=True)
class _Seen:
    """All that is kept of a tensor: as much after a thousand images as after one."""

    low: float = np.inf
    high: float = -np.inf
    lows: float = 0.0
    highs: float = 0.0
    images: int = 0
    histogram: Histogram | None = None

    def add(self, value: npt.NDArray[np.float32], low: float, high: float) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.lows, self.highs, self.images = self.lows + low, self.highs + high, self.images + 1
        if self.histogram is not None:
            self.histogram.add(value, max(abs(low), abs(high)))

    def range(self, method: str) -> tuple[float, float]:
        """By a method; never wider than what came."""
        if not self.images:  # it never had a value
            return 0.0, 0.0
        if method == "minmax":
            return self.low, self.high
        if method == "average":
            return self.lows / self.images, self.highs / self.images
        assert self.histogram is not None
        if method == "percentile":
            low, high = self.histogram.percentile(PERCENT)
        else:
            low, high = self.histogram.entropy() if method == "entropy" else self.histogram.least_error()
        return min(max(low, self.low), self.high), max(min(high, self.high), self.low)


class _Collector:
    """In the place of ONNX Runtime's own collector, whose bins have no limit: the first image sets their width."""

    def __init__(self, tensors: Sequence[str], *, counting: bool) -> None:
        self.seen = {name: _Seen(histogram=Histogram() if counting else None) for name in tensors}
        self.done = 0

    def collect(self, values: Mapping[str, Sequence[npt.NDArray[np.float32]]]) -> None:
        """Take what one image made of each tensor. Raises ConvertError for what is no number."""
        for name, (value,) in values.items():
            if not value.size:
                continue
            low, high = float(value.min()), float(value.max())  # NumPy's keep a NaN; the graph's ReduceMin drops it
            if not (np.isfinite(low) and np.isfinite(high)):
                got = "NaN" if np.isnan(low) else "infinity"
                raise ConvertError(f"tensor {name!r}: expected finite values, got {got} from image {self.done}")
            self.seen[name].add(value, low, high)
        self.done += 1


def calibrate(
    model: onnx.ModelProto,
    images: Iterable[Image],
    tensors: Sequence[str],
    *,
    method: str | Sequence[str],
    count: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Ranges]:
    """The ranges of float tensors by each method, from one pass over `images`, uint8 (H, W, 3) as the door takes them.

    Memory does not grow with the images. `progress` hears how many are done, and of how many: `count`, or their
    length, or 0 where nobody knows. Raises ConvertError: no image, one of another shape, a tensor that the graph has
    not, or one with a value that is not finite.
    """
    methods = [method] if isinstance(method, str) else list(method)
    if not methods or set(methods) - set(METHODS):
        raise ConvertError(f"expected methods out of {', '.join(METHODS)}, got {', '.join(methods) or 'none'}")
    total = count if count is not None else len(images) if isinstance(images, Sized) else 0
    collector = _Collector(tensors, counting=bool(_COUNTED & set(methods)))
    with tempfile.TemporaryDirectory(prefix="edgezoo-") as folder:
        calibrater = _calibrater(model, tensors, collector, Path(folder))
        for image in images:
            calibrater.collect_data(_One(_feed(model, image, collector.done)))
            if progress:
                progress(collector.done, total)
    if not collector.done:
        raise ConvertError("expected images to calibrate with, got none")
    return {each: {name: seen.range(each) for name, seen in collector.seen.items()} for each in methods}


def _calibrater(model: onnx.ModelProto, tensors: Sequence[str], collector: _Collector, folder: Path) -> Any:
    """ONNX Runtime's, which answers just these tensors."""
    import onnx

    if not tensors:
        raise ConvertError("expected tensors to find the ranges of, got none")
    there = {name for node in model.graph.node for name in node.output} | {port.name for port in model.graph.input}
    if missing := [name for name in tensors if name not in there]:
        raise ConvertError(f"expected tensors of the graph, got {', '.join(map(repr, missing[:3]))}, which it has not")
    ports = {name: onnx.ValueInfoProto(name=name) for name in tensors}
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.output[:]
    bare.graph.output.extend(ports.values())
    onnx.save(bare, folder / "model.onnx")
    entropy = require("onnxruntime.quantization.calibrate").EntropyCalibrater
    calibrater = entropy(folder / "model.onnx", augmented_model_path=str(folder / "augmented.onnx"))
    calibrater.select_tensors_to_calibrate = lambda _: (ports, ports)
    calibrater.collector = collector
    calibrater.augment_graph()
    calibrater.create_inference_session()
    for port in calibrater.infer_session.get_outputs():
        if port.type != "tensor(float)":
            raise ConvertError(f"tensor {port.name!r}: expected floats, got {port.type}")
    return calibrater


class _One:
    """A reader, as ONNX Runtime wants one, of one image: it keeps all that it reads until the reader ends."""

    def __init__(self, feed: Mapping[str, npt.NDArray[np.uint8]]) -> None:
        self._left = [feed]

    def get_next(self) -> Mapping[str, npt.NDArray[np.uint8]] | None:
        return self._left.pop() if self._left else None


def _feed(model: onnx.ModelProto, image: Image, place: int) -> dict[str, npt.NDArray[np.uint8]]:
    """The image as the graph's batch; as often as a fixed batch has places."""
    door = model.graph.input[0]
    batch, *shape = (dim.dim_value for dim in door.type.tensor_type.shape.dim)
    if image.shape != tuple(shape) or image.dtype != np.uint8:
        expected = f"uint8 ({', '.join(map(str, shape))})"
        raise ConvertError(f"image {place}: expected {expected}, got {image.dtype} {image.shape}")
    return {door.name: np.repeat(image[None], max(batch, 1), axis=0)}
