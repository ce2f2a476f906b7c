"""From a float graph and the ranges of its tensors to integers: one emitter a runtime, the file's name is the target's.

An emitter has `tensors(model)`, those whose ranges it asks for; `layers(model)`, the nodes that it can make integer;
and `emit(model, ranges, floats)`, the graph with all of them in integers but those named in `floats`.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol, cast

from edgezoo.errors import UnknownName
from edgezoo.reduce.regions import Ranges

if TYPE_CHECKING:
    import onnx

TARGETS = ("onnxruntime", "openvino", "tensorrt")


class Emitter(Protocol):
    """The shape of a target's file."""

    def tensors(self, model: onnx.ModelProto) -> list[str]: ...

    def layers(self, model: onnx.ModelProto) -> list[str]: ...

    def emit(self, model: onnx.ModelProto, ranges: Ranges, floats: Collection[str]) -> onnx.ModelProto: ...


def tensors(model: onnx.ModelProto) -> list[str]:
    """Those whose ranges any of the targets asks for: one calibration serves all."""
    return [*dict.fromkeys(name for target in TARGETS for name in emitter(target).tensors(model))]


def emitter(target: str) -> Emitter:
    """The emitter for a runtime. Raises UnknownName."""
    if target not in TARGETS:
        raise UnknownName("target of int8", target, TARGETS)
    return cast(Emitter, importlib.import_module(f"edgezoo.reduce.int8.{target}"))


def readable(model: onnx.ModelProto) -> dict[str, str]:
    """What people call the weighted nodes: by the checkpoint's name of their weights where the graph still has it."""
    from edgezoo.reduce.int8.wiring import Wiring

    found = {}
    for name, node in Wiring(model).weighted.items():
        weights = node.input[1].removeprefix("net/").removesuffix(".weight")
        found[name] = weights if weights != node.input[1].removeprefix("net/") else name.removeprefix("net/")
    taken = [*found.values(), *found]  # what is not unique is called by its node's name
    return {name: text if taken.count(text) == 1 + (text == name) else name for name, text in found.items()}
