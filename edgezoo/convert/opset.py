"""The version of ONNX's operators that a graph is written in.

17 is the newest that every runtime here reads right: TensorRT 8.6 takes a graph of any, and reads the axes of a
ReduceMean of 18, which became an input there, as all axes, without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgezoo.errors import ConvertError

if TYPE_CHECKING:
    import onnx

READ_BY_ALL, _ITS_IR = 17, 8


def opset_of(model: onnx.ModelProto) -> int:
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def in_opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """A copy in another opset. Raises ConvertError."""
    from onnx import version_converter

    try:
        return version_converter.convert_version(model, version)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ConvertError(f"the graph cannot go to opset {version}: {reason}") from None


def read_by_all(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in an opset that every runtime reads; itself where it is. Raises ConvertError."""
    if opset_of(model) > READ_BY_ALL:
        model = in_opset(model, READ_BY_ALL)
    for node in model.graph.node:  # left behind by the converter, though no opset so old knows it
        kept = [each for each in node.attribute if each.name != "noop_with_empty_axes"]
        if len(kept) < len(node.attribute):
            del node.attribute[:]
            node.attribute.extend(kept)
    model.ir_version = min(model.ir_version, _ITS_IR)
    return model
