"""Small networks behind a real door, and their ranges: what is made into integers by the tests of that."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from graphs import Net

from edgezoo.backends import Arrays, open_backend
from edgezoo.convert.graph import Nodes, emit, inside
from edgezoo.preprocess import Preprocess
from edgezoo.reduce.int8 import tensors
from edgezoo.reduce.int8.calibrate import calibrate
from edgezoo.reduce.regions import Ranges, plain

SIDE = 16
YOLOX = Preprocess(size_wh=(SIDE, SIDE), fit="stretch")
IMAGENET = Preprocess(
    size_wh=(SIDE, SIDE), fit="stretch", color="RGB", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)
)


class Small(Net):
    """A network under construction, from `pixels` (N, 3, SIDE, SIDE), whose signals keep their size."""

    def __init__(self, recipe: Preprocess = IMAGENET, *, seed: int = 0) -> None:
        super().__init__()
        self.recipe = recipe
        self.random = np.random.default_rng(seed)
        self.channels = {"pixels": 3}
        spread = (np.square(127.5 - np.array(recipe.mean)) + 73.6**2) / np.square(recipe.std)
        self._loudness = float(np.sqrt(spread.mean()))

    def add(self, op: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        made = super().add(op, *inputs, out=out, **attributes)
        known = [self.channels[name] for name in inputs if name in self.channels]
        if known:
            self.channels[made] = sum(known) if op == "Concat" else known[0]
        return made

    def conv(
        self,
        x: str,
        channels: int,
        *,
        kernel: int = 3,
        act: str = "",
        groups: int = 1,
        op: str = "Conv",
        pad: int | None = None,
        weights: str | None = None,
        **more: Any,
    ) -> str:
        """A convolution with a bias and what `act` says behind it; `weights`: those of another."""
        before = self.channels[x]
        if weights is None:
            shape = (channels, before // groups) if op == "Conv" else (before, channels // groups)
            size = np.sqrt((2 if act else 1) / (before // groups * kernel**2)) / (
                self._loudness if x == "pixels" else 1
            )
            weights = self.constant(self.random.normal(size=(*shape, kernel, kernel)) * size)
        bias = self.constant(self.random.normal(size=channels) / 10)
        pads = [kernel // 2 if pad is None else pad] * 4
        made = self.add(op, x, weights, bias, group=groups, pads=pads, **more)
        self.channels[made] = channels
        return self.activation(made, act) if act else made

    def activation(self, x: str, kind: str) -> str:
        if kind == "Silu":
            return self.add("Mul", x, self.add("Sigmoid", x))
        if kind == "Relu6":
            return self.add("Clip", x, self.constant(0), self.constant(6))
        return self.add(kind, x)

    def squeezed(self, x: str) -> str:
        """Squeeze and excitation, as MobileNetV3 has it."""
        mean = self.add("ReduceMean", x, axes=[2, 3], keepdims=1)
        inner = self.conv(mean, 8, kernel=1, act="Relu")
        gate = self.conv(inner, self.channels[x], kernel=1)
        sharp = self.add("HardSigmoid", gate, alpha=1 / 6, beta=0.5)
        return self.add("Mul", x, sharp)

    def gemm(self, x: str, channels: int, **more: Any) -> str:
        """A fully connected layer, of a tensor (N, C)."""
        weights = self.constant(self.random.normal(size=(channels, self.channels[x])) / np.sqrt(self.channels[x]))
        made = self.add("Gemm", x, weights, self.constant(self.random.normal(size=channels) / 10), transB=1, **more)
        self.channels[made] = channels
        return made

    def finished(self, output: str, *, opset: int = 17) -> onnx.ModelProto:
        """The bundle's graph, plain: `images` in, `output` out as `answers`."""
        raw = self.model(["N", 3, SIDE, SIDE], {}, opset=opset)
        known = {port.name: port for port in onnx.shape_inference.infer_shapes(raw).graph.value_info}
        shape = [side.dim_value for side in known[output].type.tensor_type.shape.dim]
        ends = Nodes("exit")
        ends.add("Identity", inside(output), out="answers")
        return plain(emit(raw, self.recipe, ends, {"answers": tuple(shape[1:])}, batch=None))


# The networks. Each is wide enough for TensorRT, but for its first layer.


def residual(net: Small) -> str:
    """Relu, MaxPool, two blocks with a skip, one of which has a convolution on it, and a vector at the end."""
    x = net.add("MaxPool", net.conv("pixels", 16, act="Relu"), kernel_shape=[2, 2], strides=[2, 2])
    inner = net.conv(net.conv(x, 16, act="Relu"), 16)
    x = net.add("Relu", net.add("Add", inner, x))
    inner = net.conv(net.conv(x, 32, act="Relu"), 32)
    x = net.add("Relu", net.add("Add", inner, net.conv(x, 32, kernel=1)))
    return net.gemm(net.add("Flatten", net.add("GlobalAveragePool", x)), 10)


def bottlenecks(net: Small) -> str:
    """MobileNetV2: Clip, depthwise convolutions, and linear ones, of which two have no skip beside them."""
    x = net.conv("pixels", 16, act="Relu6", strides=[2, 2])
    x = net.conv(net.conv(x, 16, act="Relu6", groups=16), 16, kernel=1)
    for _ in range(2):
        inner = net.conv(net.conv(x, 32, kernel=1, act="Relu6"), 32, act="Relu6", groups=32)
        x = net.add("Add", x, net.conv(inner, 16, kernel=1))
    x = net.conv(net.conv(x, 16, kernel=1), 32, kernel=1, act="Relu6")
    return net.gemm(net.add("Flatten", net.add("GlobalAveragePool", x)), 10)


def squeezing(net: Small) -> str:
    """MobileNetV3: HardSwish, squeeze and excitation, the mean of all pixels, two fully connected layers."""
    x = net.conv("pixels", 16, act="HardSwish", strides=[2, 2])
    inner = net.conv(net.conv(x, 32, kernel=1, act="HardSwish"), 32, act="HardSwish", groups=32)
    x = net.add("Add", x, net.conv(net.squeezed(inner), 16, kernel=1))
    inner = net.squeezed(net.conv(net.conv(x, 32, kernel=1, act="Relu"), 32, act="Relu", groups=32))
    x = net.conv(inner, 32, kernel=1, act="HardSwish")
    mean = net.add("ReduceMean", x, axes=[-1, -2], keepdims=1)
    return net.gemm(net.activation(net.gemm(net.add("Flatten", mean), 32), "HardSwish"), 10)


def pyramid(net: Small) -> str:
    """YOLOX: SiLU, a block of two branches that meet, pooling in pyramids, two scales, a head behind each."""
    fine = net.conv("pixels", 16, act="Silu")
    x = net.conv(fine, 32, act="Silu", strides=[2, 2])
    branch = net.conv(x, 16, kernel=1, act="Silu")
    branch = net.add("Add", branch, net.conv(net.conv(branch, 16, kernel=1, act="Silu"), 16, act="Silu"))
    x = net.add("Concat", branch, net.conv(x, 16, kernel=1, act="Silu"), axis=1)
    pools = [net.add("MaxPool", x, kernel_shape=[k, k], pads=[k // 2] * 4) for k in (3, 5)]
    x = net.conv(net.add("Concat", x, *pools, axis=1), 32, kernel=1, act="Silu")
    up = net.add("Resize", net.conv(x, 16, kernel=1, act="Silu"), "", net.constant([1, 1, 2, 2]), mode="nearest")
    up = net.conv(net.add("Concat", up, fine, axis=1), 32, act="Silu")
    heads = [net.add("Reshape", net.conv(each, 6, kernel=1), net.ints(0, 6, -1)) for each in (up, x)]
    return net.add("Concat", *heads, axis=2)


def hourglass(net: Small) -> str:
    """Down and up again by transposed convolutions, the last in groups; LeakyRelu, AveragePool, a linear Resize."""
    x = net.conv("pixels", 16)
    x = net.add("AveragePool", net.add("LeakyRelu", x, alpha=0.1), kernel_shape=[2, 2], strides=[2, 2])
    x = net.conv(x, 32, act="Relu")
    x = net.conv(x, 32, op="ConvTranspose", kernel=2, pad=0, act="Relu", strides=[2, 2])
    x = net.conv(x, 32, op="ConvTranspose", kernel=3, act="Relu", groups=2)
    x = net.add("Resize", net.conv(x, 16, act="Relu"), "", net.constant([1, 1, 2, 2]), mode="linear")
    return net.conv(x, 4, kernel=1)


NETS: Mapping[str, Callable[[Small], str]] = {
    made.__name__: made for made in (residual, bottlenecks, squeezing, pyramid, hourglass)
}


# What comes of them.


@dataclass(frozen=True, eq=False)
class Case:
    """A graph, the ranges of its tensors over some images, and its answers to these."""

    model: onnx.ModelProto
    ranges: Ranges
    images: npt.NDArray[np.uint8]
    answers: npt.NDArray[np.float32]


@functools.cache
def case(name: str, recipe: Preprocess = IMAGENET) -> Case:
    """One of `NETS`."""
    net = Small(recipe)
    return measured(net.finished(NETS[name](net)))


def measured(model: onnx.ModelProto, images: npt.NDArray[np.uint8] | None = None) -> Case:
    """A case of any graph; `images`: those that it is calibrated with, in the place of random ones."""
    images = pictures(8) if images is None else images
    ranges = calibrate(model, list(images), tensors(model), method="minmax")["minmax"]
    return Case(model, ranges, images, answers(model, images))


def pictures(count: int, *, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Random patches of colour with noise on them."""
    random = np.random.default_rng(seed)
    patches = random.integers(0, 256, (count, 4, 4, 3)).repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)
    return np.clip(patches + random.normal(0, 20, patches.shape), 0, 255).astype(np.uint8)


def run(model: onnx.ModelProto, images: npt.NDArray[np.uint8], *, backend: str = "onnxruntime") -> Arrays:
    opened = open_backend(backend, model.SerializeToString())
    try:
        return opened.run({"images": images})
    finally:
        opened.close()


def answers(
    model: onnx.ModelProto, images: npt.NDArray[np.uint8], *, backend: str = "onnxruntime"
) -> npt.NDArray[np.float32]:
    return run(model, images, backend=backend)["answers"]


def decibels(reference: npt.NDArray[Any], found: npt.NDArray[Any]) -> float:
    """The ratio of signal to error."""
    error = np.square(reference.astype(np.float64) - found).mean()
    return float(10 * np.log10(np.square(reference.astype(np.float64)).mean() / max(error, 1e-30)))
