"""What an engine consists of: an ONNX graph's nodes fused, named and joined by reformats as TensorRT does with CNNs.

After the engine dumps that NVIDIA keeps with its engine explorer (NVIDIA/TensorRT on GitHub,
tools/experimental/trt-engine-explorer/tests/inputs/*.engine.graph.json): a convolution takes its weights' Q and its
activation in (`weight + QuantizeLinear_8 + Conv_12 + PWN(Clip_16)`), Q and DQ that nothing took in are `Reformat` of
`"Origin": "QDQ"`, and where layouts differ stands a `Reformatting CopyNode for Input Tensor 0 to …`. The real one
fuses more, and otherwise on every GPU: this is a likeness of its words, not of its choices.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import onnx

_MATH = {"Conv": "Convolution", "ConvTranspose": "Deconvolution", "Gemm": "Gemm", "MatMul": "Gemm"}
_FUSED = {"Relu", "Clip", "Sigmoid", "LeakyRelu", "HardSwish", "HardSigmoid"}
_LINEAR = {"Reshape", "Transpose", "Softmax", "Slice", "Gather", "ArgMax", "Flatten", "Split", "Unsqueeze", "Squeeze"}
_KINDS = {
    "Cast": "Cast",
    "MaxPool": "CaskPooling",
    "AveragePool": "CaskPooling",
    "GlobalAveragePool": "CaskPooling",
    "Reshape": "NoOp",
    "Flatten": "NoOp",
    "Unsqueeze": "NoOp",
    "Squeeze": "NoOp",
    "Transpose": "Shuffle",
    "Concat": "Concat",
    "Slice": "Slice",
    "Split": "Slice",
    "Resize": "Resize",
    "Softmax": "SoftMax",
    "ArgMax": "TopK",
    "Gather": "Gather",
    "ReduceMean": "Reduce",
}
_TYPES = {1: "Float", 2: "UInt8", 3: "Int8", 6: "Int32", 7: "Int64", 9: "Bool", 10: "Half", 16: "BFloat16"}


def layers_of(model: onnx.ModelProto) -> list[dict[str, Any]]:
    """Each with `work`, its share of a run's time, and per tensor name, sizes, type and layout."""
    return _Fusing(onnx.shape_inference.infer_shapes(model).graph).layers()


class _Fusing:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.made = {name: node for node in graph.node for name in node.output}
        self.used: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.used[name].append(node)
        self.values = {value.name: value for value in [*graph.input, *graph.output, *graph.value_info]}
        self.weights = {weight.name: weight for weight in graph.initializer}
        self.constant = set(self.weights)
        for node in graph.node:
            if all(name in self.constant for name in node.input if name):
                self.constant.update(node.output)
        self.outputs = {value.name for value in graph.output}
        self.vector: set[str] = set()
        """Tensors whose channels are packed; all others lie as the graph says."""
        self.taken: set[str] = set()
        """Outputs of nodes that another layer took in."""
        self.told: list[dict[str, Any]] = []

    def layers(self) -> list[dict[str, Any]]:
        for node in self.graph.node:
            if not set(node.output) <= self.constant | self.taken:
                self.take(node)
        for value in self.graph.output:
            if value.name in self.vector:
                self.vector.discard(value.name)
                name = f"Reformatted Output Tensor 0 to {self.told[-1]['Name']}"
                copy = f"Reformatting CopyNode for Output Tensor 0 to {self.told[-1]['Name']}"
                ports = [{**self.port(value.name), "name": name, "packed": True}], [self.port(value.name)]
                self.add(copy, "Reformat", *ports, ParameterType="Reformat", Origin="REFORMAT")
        return self.told

    def take(self, node: onnx.NodeProto) -> None:
        if node.op_type in _MATH:
            self.take_math(node)
        elif node.op_type == "QuantizeLinear":
            self.vector.add(node.output[0])
            self.cross(node)
        elif node.op_type == "DequantizeLinear":
            # A convolution takes it in, and so, each for itself, do all of its users that are convolutions.
            if node.output[0] in self.outputs or any(user.op_type not in _MATH for user in self.used[node.output[0]]):
                if node.input[0] in self.vector:
                    self.vector.add(node.output[0])
                self.cross(node)
        else:
            self.take_other(node)

    def cross(self, node: onnx.NodeProto) -> None:
        ports = [self.port(node.input[0])], [self.port(node.output[0])]
        self.add(node.name or node.op_type, "Reformat", *ports, ParameterType="Reformat", Origin="QDQ")

    def take_math(self, node: onnx.NodeProto) -> None:
        source, real = self.before(node.input[0]), node.output[0]
        weight = next((name for name in node.input[1:] if name in self.constant), "")
        names = [*self.chain(weight), node.name or node.op_type]
        while user := self.only(real, _FUSED):
            name = user.name or user.op_type
            names.append(name if user.op_type == "Relu" else f"PWN({name})")
            real = user.output[0]
            self.taken.add(real)
        if user := self.only(real, {"QuantizeLinear"}):
            real = user.output[0]
            self.taken.add(real)
        quantised = source != node.input[0]
        kind = "Int8" if quantised else self.port(node.output[0])["type"]
        name = " + ".join(names)
        if kind != "Float":
            self.vector.add(real)
        port = self.port(source)
        if kind != "Float" and source not in self.vector:
            port = self.reformat(name, 0, port, packed=True)
        others = [self.port(one) for one in node.input[1:] if one and one not in self.constant]
        count = math.prod(self.weights[root].dims) if (root := self.root(weight)) else 0
        self.add(
            name,
            "CaskConvolution" if node.op_type.startswith("Conv") else "CaskGemmMatrixMultiply",
            [port, *others],
            [self.port(real)],
            ParameterType=_MATH[node.op_type],
            Weights={"Type": kind, "Count": count},
            Activation="RELU" if self.made[real].op_type == "Relu" else "NONE",
        )

    def take_other(self, node: onnx.NodeProto) -> None:
        name = node.name or node.op_type
        pointwise = node.op_type not in _KINDS
        inputs = [self.port(one) for one in node.input if one and one not in self.constant]
        if node.op_type in _LINEAR:
            inputs = [
                self.reformat(name, k, one, packed=False) if one["packed"] else one for k, one in enumerate(inputs)
            ]
        elif any(one["packed"] for one in inputs):
            self.vector.update(node.output)
        outputs = [self.port(one) for one in node.output if one]
        kind = _KINDS.get(node.op_type, "PointWiseV2")
        parameter = {"PointWiseV2": "PointWise", "CaskPooling": "Pooling"}.get(kind, kind)
        self.add(f"PWN({name})" if pointwise else name, kind, inputs, outputs, ParameterType=parameter)

    def reformat(self, user: str, place: int, port: dict[str, Any], *, packed: bool) -> dict[str, Any]:
        """A copy into the layout that a layer wants; what comes out of it."""
        out = {**port, "name": f"Reformatted Input Tensor {place} to {user}", "packed": packed}
        name = f"Reformatting CopyNode for Input Tensor {place} to {user}"
        self.add(name, "Reformat", [port], [out], ParameterType="Reformat", Origin="REFORMAT")
        return out

    def add(self, name: str, kind: str, inputs: list[Any], outputs: list[Any], **more: Any) -> None:
        sizes = [math.prod(size if size > 0 else 1 for size in port["sizes"]) for port in outputs]
        weights = more.get("Weights", {}).get("Count", 0)
        work = sum(sizes) + weights * 8
        self.told.append({"Name": name, "LayerType": kind, "Inputs": inputs, "Outputs": outputs, **more, "work": work})

    def port(self, name: str) -> dict[str, Any]:
        kind = self.values[name].type.tensor_type if name in self.values else onnx.TypeProto.Tensor()
        sizes = [size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim]
        number = kind.elem_type if name not in self.weights else self.weights[name].data_type
        return {"name": name, "sizes": sizes, "type": _TYPES.get(number, "Float"), "packed": name in self.vector}

    def before(self, name: str) -> str:
        """What a DQ of an activation was made of, else the tensor itself."""
        node = self.made.get(name)
        return node.input[0] if node is not None and node.op_type == "DequantizeLinear" else name

    def only(self, name: str, kinds: set[str]) -> onnx.NodeProto | None:
        users = self.used[name]
        return users[0] if len(users) == 1 and users[0].op_type in kinds and name not in self.outputs else None

    def chain(self, name: str) -> list[str]:
        """The names of a constant and of the Q that it goes through, as the fused layer is called by."""
        node = self.made.get(name)
        if node is None:
            return [name] if self.used[name] and self.used[name][0].op_type == "QuantizeLinear" else []
        above = self.chain(node.input[0])
        return [*above, node.name or node.op_type] if node.op_type == "QuantizeLinear" else above

    def root(self, name: str) -> str:
        while name and name not in self.weights:
            name = self.made[name].input[0] if name in self.made and self.made[name].input else ""
        return name
