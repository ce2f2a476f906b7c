"""What really runs of a graph, read from the trace that ONNX Runtime writes of its runs."""

from __future__ import annotations

import re
import statistics
from bisect import bisect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from edgezoo.backends import Layer

_PRECISIONS = {
    "float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "fp64", "uint8": "int8", "int8": "int8",
}  # fmt: skip
_CONVERSIONS = {
    "Cast", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Transpose", "ReorderInput", "ReorderOutput",
    "MemcpyToHost", "MemcpyFromHost",
}  # fmt: skip
_COMPUTES_IN_INT8 = re.compile("QLinear|QGemm|QAttention|DynamicQuantize")  # also where its input comes as floats
_OF_SHAPES = {"Shape", "Size"}
_CONTAINERS = {"If", "Loop", "Scan"}  # what is inside them is told too


def layers_of(trace: Sequence[Mapping[str, Any]]) -> list[Layer]:
    """Of the trace of some runs, the first of which is left out."""
    starts = sorted(event["ts"] for event in trace if event["name"] == "model_run")
    nodes: dict[tuple[str, str], Mapping[str, Any]] = {}
    times: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0] * len(starts))
    for event in trace:
        step = event.get("args", {})
        if event["cat"] != "Node" or not event["name"].endswith("_kernel_time") or step["op_name"] in _CONTAINERS:
            continue
        key = step["node_index"], event["name"]  # inside a container indices begin again
        nodes.setdefault(key, step)
        times[key][bisect(starts, event["ts"]) - 1] += event["dur"] / 1000
    return [
        Layer(
            name=_name(name, step),
            kind=step["op_name"],
            precision=_precision(step),
            ms=statistics.median(times[index, name][1:]),
            conversion=step["op_name"] in _CONVERSIONS,
        )
        for (index, name), step in nodes.items()
    ]


def _name(told: str, step: Mapping[str, Any]) -> str:
    """The node's, or its number and the shape it answers where the optimiser left it none."""
    name = re.sub(r"(_nchwc|_token_\d+|/\w*Fusion/)?_kernel_time$", "", told)
    if name not in ("", step["op_name"]):
        return name
    shapes = ["x".join(map(str, shape)) for port in step["output_type_shape"] for shape in port.values()]
    return " ".join([f"{step['op_name']}_{step['node_index']}", *shapes[:1]])


def _precision(step: Mapping[str, Any]) -> str:
    """By the first input; by the first output where that holds no numbers to compute with, and of a conversion."""
    kind = step["op_name"]
    if _COMPUTES_IN_INT8.match(kind):
        return "int8"
    first, answer = (
        next((dtype for port in step[ports] for dtype in port), "")
        for ports in ("input_type_shape", "output_type_shape")
    )
    counts = first in ("", "bool", "int32", "int64")
    dtype = answer if answer and (counts or kind in _CONVERSIONS | _OF_SHAPES) else first
    return _PRECISIONS.get(dtype, dtype)
