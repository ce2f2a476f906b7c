"""Small graphs in the INT8 form that TensorRT wants, written by hand for the tests of what makes and checks such."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from graphs import Net
from onnx import TensorProto, helper

SIDE = 8


class Int8(Net):
    """A graph under construction, from `images` uint8 (N, 8, 8, 3); every breach of the form must be asked for."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)

    def door(self) -> str:
        """The image as float (N, 3, 8, 8) in 0..1."""
        pixels = self.add("Transpose", self.add("Cast", "images", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
        return self.add("Mul", pixels, self.constant(1 / 255))

    def pair(self, name: str, scale: Any = 0.05, zero: Any = 0, kind: type = np.int8) -> str:
        """A tensor through QuantizeLinear and DequantizeLinear."""
        port = self.constant(scale), self.constant(np.broadcast_to(zero, np.shape(scale)), kind)
        return self.add("DequantizeLinear", self.add("QuantizeLinear", name, *port), *port)

    def weight(self, *shape: int, axis: int = 0, stored: bool = True, zero: int = 0) -> str:
        """A weight through DequantizeLinear, per channel of `axis`: stored as int8, or as float with a Q before."""
        count = shape[axis]
        scale = self.constant(self.random.uniform(0.5, 2, count) / 127 / np.sqrt(np.prod(shape) / count))
        zeros = self.constant(np.full(count, zero), np.int8)
        ints = self.random.integers(-127, 128, shape)
        if stored:
            return self.add("DequantizeLinear", self.constant(ints, np.int8), scale, zeros, axis=axis)
        value = self.constant(ints / 127 / np.sqrt(np.prod(shape) / count))
        return self.add(
            "DequantizeLinear", self.add("QuantizeLinear", value, scale, zeros, axis=axis), scale, zeros, axis=axis
        )

    def plain(self, *shape: int) -> str:
        """A float constant that keeps a signal's size."""
        return self.constant(self.random.normal(size=shape) / np.sqrt(np.prod(shape[1:])))

    def conv(self, name: str, weight: str, *, out_channels: int, op: str = "Conv", **more: Any) -> str:
        """A 3x3 convolution with a float bias, behind a Relu."""
        bias = self.constant(self.random.normal(size=out_channels) / 10)
        return self.add("Relu", self.add(op, name, weight, bias, pads=[1, 1, 1, 1], **more))

    def finished(self, output: str, *shape: int, opset: int = 17, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
        """The model, whose one output is `output` (N, *shape)."""
        images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])
        answer = helper.make_tensor_value_info(output, kind, ["N", *shape])
        graph = helper.make_graph(self.nodes, "int8", [images], [answer], self.constants)
        for place, node in enumerate(graph.node):
            node.name = f"{node.op_type}_{place}"
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def classifier(*, stored: bool = True) -> onnx.ModelProto:
    """A network with all that the form has a word about: a skip branch, a Concat, few channels, a vector, a tail."""
    net = Int8()
    first = net.conv(net.door(), net.plain(16, 3, 3, 3), out_channels=16)  # three channels: left in float
    seen = net.pair(first)
    branch = net.conv(seen, net.weight(16, 16, 3, 3, stored=stored), out_channels=16)
    added = net.add("Add", seen, branch)
    wide = net.conv(net.pair(added), net.weight(32, 16, 3, 3, stored=stored), out_channels=32)
    joined = net.add("Concat", net.pair(wide, 0.03), net.pair(first, 0.03), axis=1)
    last = net.conv(net.pair(joined, 0.03), net.weight(32, 48, 3, 3, stored=stored), out_channels=32)
    vector = net.add("Flatten", net.add("GlobalAveragePool", last))
    logits = net.add("Gemm", vector, net.plain(10, 32), transB=1, alpha=8.0)
    return net.finished(net.add("Softmax", logits, axis=1, out="scores"), 10)
