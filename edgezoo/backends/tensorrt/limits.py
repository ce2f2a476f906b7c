"""What TensorRT's ONNX parser reads of an operator only in part, by version, as far as a graph shows it.

From the same pages as `operators.toml`; what depends on shapes is not here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Version = tuple[int, int]
Node: TypeAlias = Any
"""An onnx.NodeProto; `graphs` alone imports that library."""
_NEVER = (1000, 0)
_FOLD = "store it: fold the graph's constants"


@dataclass(frozen=True, slots=True)
class Use:
    """A node, and what is known of its inputs."""

    node: Node
    constants: Mapping[str, Any]
    fixed: Collection[str]

    def given(self, place: int) -> str:
        """An input's name; empty where it is left out."""
        return self.node.input[place] if place < len(self.node.input) else ""

    def attribute(self, name: str, default: Any) -> Any:
        for entry in self.node.attribute:
            if entry.name == name:
                kinds = {entry.INT: "i", entry.STRING: "s", entry.INTS: "ints"}
                value = getattr(entry, kinds[entry.type]) if entry.type in kinds else None
                return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return default


_Breaks: TypeAlias = Callable[[Use], bool]


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that is not read, in versions from `since` to before `until`."""

    ops: str
    breaks: _Breaks
    why: str
    since: Version = (8, 6)
    until: Version = _NEVER


def limits(node: Node, constants: Mapping[str, Any], fixed: Collection[str], version: Version) -> Iterator[str]:
    """What `version` does not read of a node; `constants`: stored tensors; `fixed`: and what is made of these alone."""
    use = Use(node, constants, fixed)
    for limit in _LIMITS:
        if node.op_type in limit.ops.split() and limit.since <= version < limit.until and limit.breaks(use):
            yield limit.why


def _computed(*places: int) -> _Breaks:
    """One of these inputs is not stored."""
    return lambda use: any(use.given(place) and use.given(place) not in use.constants for place in places)


def _unknown(place: int) -> _Breaks:
    """This input is not known before images come."""
    return lambda use: bool(use.given(place)) and use.given(place) not in use.fixed


def _other(name: str, *allowed: Any) -> _Breaks:
    """The attribute is there with another value."""
    return lambda use: use.attribute(name, allowed[0]) not in allowed


def _output(*places: int) -> _Breaks:
    return lambda use: any(place < len(use.node.output) and use.node.output[place] for place in places)


def _input(*places: int) -> _Breaks:
    return lambda use: any(use.given(place) for place in places)


def _integer(use: Use, place: int) -> int:
    """A stored scalar; 0 where it is none."""
    tensor = use.constants.get(use.given(place))
    if tensor is None:
        return 0
    stored = [*tensor.int64_data, *tensor.int32_data]
    return int(stored[0]) if stored else int.from_bytes(tensor.raw_data[:8], "little", signed=True)


def _repeats(use: Use) -> bool:
    terms = str(use.attribute("equation", "")).partition("->")[0].replace(" ", "").split(",")
    return any("..." in term or len(set(term)) < len(term) for term in terms)


_RESIZES = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
_ROUNDS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
_REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
)
_TYPED: Version = (10, 0)

_LIMITS = (
    Limit("AveragePool MaxPool", lambda use: len(use.attribute("kernel_shape", ())) not in (2, 3),
          "it pools in neither 2D nor 3D; reshape before it"),
    Limit("AveragePool LpPool MaxPool", lambda use: any(step != 1 for step in use.attribute("dilations", ())),
          "it has dilations; pool without", since=_TYPED),
    Limit("MaxPool", _output(1), "its indices are not read; leave that output out"),
    Limit("Attention", lambda use: _input(4, 5, 6)(use) or _output(1, 2, 3)(use),
          "caches of keys and values are not read; leave them out"),
    Limit("Constant", lambda use: any(entry.name in ("sparse_value", "value_string", "value_strings")
                                      for entry in use.node.attribute),
          "it holds a sparse value or text; store a dense tensor"),
    # Seen by running the parser of 8.6.0.
    Limit("Conv ConvTranspose", lambda use: use.given(1) not in use.constants and not use.attribute("kernel_shape", ()),
          "its kernel goes through Q/DQ and its kernel_shape is left out; state that", until=_TYPED),
    Limit("QuantizeLinear DequantizeLinear", lambda use: not use.given(2),
          "its zero point is left out; store one of 0", until=_TYPED),
    Limit("CumSum", _computed(1), f"its axis is computed; {_FOLD}", until=(10, 8)),
    Limit("CumSum", _unknown(1), f"its axis depends on the image; {_FOLD}", since=(10, 8)),
    Limit("Dropout", lambda use: _computed(2)(use) or _integer(use, 2) != 0,
          "it is in training mode; export for inference", since=_TYPED),
    Limit("Einsum", _repeats, "ellipses and repeated letters are read from 10.12 on; write them out", until=(10, 12)),
    Limit("InstanceNormalization", _computed(1, 2), f"its scale or bias is computed; {_FOLD}", until=_TYPED),
    Limit("LSTM", lambda use: _other("input_forget", 0)(use) or _other("layout", 0)(use),
          "input_forget and layout must be 0", since=_TYPED),
    Limit("LayerNormalization", _output(1, 2), "its first output alone is read; leave the others out", since=_TYPED),
    Limit("OneHot", _unknown(1), f"its depth depends on the image; {_FOLD}", since=_TYPED),
    Limit("Pad", _input(3), "its axes are read from 10.4 on; pad all of them", until=(10, 4)),
    Limit("Pad", _other("mode", "constant", "reflect", "edge"), "wrap is read from 10.0 on", until=_TYPED),
    Limit(_REDUCTIONS, _computed(1), f"its axes are computed; {_FOLD}", since=_TYPED),
    Limit("Resize", _other("mode", "nearest", "linear"), "it resizes by neither nearest nor linear; use one of these"),
    Limit("Resize", _other("coordinate_transformation_mode", *_RESIZES),
          "its coordinates are of another kind than " + ", ".join(_RESIZES)),
    Limit("Resize", _other("nearest_mode", *_ROUNDS), "it rounds in another way than " + ", ".join(_ROUNDS)),
    Limit("Resize", _other("antialias", 0), "antialiasing is not read; resize without"),
    Limit("Resize", _other("keep_aspect_ratio_policy", "stretch"), "it can only stretch; give sizes or scales"),
    Limit("STFT", _computed(1, 2), f"its frame step or window is computed; {_FOLD}"),
    Limit("ScatterElements", _other("reduction", "none"), "reductions are read from 10.0 on", until=_TYPED),
    Limit("ScatterND", _other("reduction", "none"), "it reduces, which is not read; scatter without"),
    Limit("Slice", _computed(3), f"its axes are computed; {_FOLD}", until=(10, 3)),
    Limit("Squeeze", _computed(1), f"its axes are computed; {_FOLD}", until=(10, 7)),
    Limit("Squeeze Unsqueeze", _unknown(1), f"its axes depend on the image; {_FOLD}"),
    Limit("TopK", _other("sorted", 1), "it gives values unsorted; ask for sorted ones", since=_TYPED),
    Limit("TopK", lambda use: _integer(use, 1) >= 3840, "K must be less than 3840", since=_TYPED),
)  # fmt: skip
