"""What TensorRT made of a graph, read from the compiled engine: its layers, and what each computes in.

By the engine inspector (https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html), whose
wording differs from version to version: `Half`, `FP16`, `Row major linear FP16 format`.
"""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edgezoo.backends import Layer

_TYPES = (
    (re.compile(r"bfloat16|bf16", re.IGNORECASE), "bf16"),
    (re.compile(r"fp16|half", re.IGNORECASE), "fp16"),
    (re.compile(r"fp8|float8", re.IGNORECASE), "fp8"),
    (re.compile(r"fp32|float", re.IGNORECASE), "fp32"),
    (re.compile(r"uint8", re.IGNORECASE), "uint8"),
    (re.compile(r"int8", re.IGNORECASE), "int8"),
    (re.compile(r"int32", re.IGNORECASE), "int32"),
    (re.compile(r"int64", re.IGNORECASE), "int64"),
    (re.compile(r"bool", re.IGNORECASE), "bool"),
)
_FLOATS = ("fp32", "fp16", "bf16", "fp8", "int8")
_CONVERSIONS = re.compile(r"^(reformat|noop|cast|quantize|dequantize)$", re.IGNORECASE)
_COPIES = re.compile(r"^Reformatting CopyNode|\bcopy_node\b", re.IGNORECASE)
UNKNOWN = "unknown"
"""A precision that is not told: the engine was built without `profilingVerbosity=detailed`."""


def read_layers(trt: Any, engine: Any, context: Any) -> list[Mapping[str, Any]]:
    """The inspector's own account of each layer, in order; only a `Name` where the engine was built to tell no more.

    `context`: with its shapes set, for types depend on them.
    """
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        told = json.loads(text or "{}", strict=False).get("Layers", [])  # 8.6 joins names by control characters
    except ValueError:
        return []
    return [layer if isinstance(layer, dict) else {"Name": str(layer)} for layer in told]


def precisions(layers: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What layers compute in, most of them first; conversions and what moves whole numbers left out."""
    counts = Counter(precision_of(layer) for layer in layers if not is_conversion(layer))
    return tuple(name for name, _ in counts.most_common() if name in _FLOATS)


def is_conversion(layer: Mapping[str, Any]) -> bool:
    """Whether it computes nothing: it changes the type of values, or where they lie."""
    return bool(_CONVERSIONS.match(str(layer.get("LayerType", ""))) or _COPIES.search(str(layer.get("Name", ""))))


def precision_of(layer: Mapping[str, Any]) -> str:
    """By its weights where it has any, else its first input; its answer where that holds whole numbers, and of a
    conversion."""
    weights = layer.get("Weights")
    told = [
        _type(weights.get("Type")) if isinstance(weights, dict) else "",
        *_types(layer, "Inputs")[:1],
    ]
    answer = next(iter(_types(layer, "Outputs")), "")
    if is_conversion(layer):
        return answer or UNKNOWN
    return next((name for name in (*told, answer) if name in _FLOATS), "") or answer or UNKNOWN


def timed(layers: Sequence[Mapping[str, Any]], runs: Sequence[Sequence[tuple[str, float]]]) -> list[Layer]:
    """As the profiler told them of each run, `(name, ms)` in order; the median of the runs."""
    about = {str(layer.get("Name", "")): layer for layer in layers}
    names = [name for name, _ in runs[0]] if runs else []
    times = [[run[k][1] for run in runs if k < len(run)] for k in range(len(names))]
    return [
        Layer(
            name=name,
            kind=str(about.get(name, {}).get("LayerType", UNKNOWN)),
            precision=precision_of(about.get(name, {})),
            ms=statistics.median(each),
            conversion=is_conversion(about.get(name, {"Name": name})),
        )
        for name, each in zip(names, times, strict=True)
    ]


def _types(layer: Mapping[str, Any], side: str) -> list[str]:
    ports = layer.get(side)
    told = [port for port in ports if isinstance(port, dict)] if isinstance(ports, list) else []
    return [_type(port.get("Datatype", port.get("Format/Datatype"))) for port in told]


def _type(told: object) -> str:
    return next((name for pattern, name in _TYPES if pattern.search(str(told or ""))), "")
