"""What the ONNX parser of each TensorRT documents to read, held against a graph: no TensorRT, GPU or driver needed.

Nothing refused means that nothing documented stands against the graph, not that TensorRT built it. The IR version is
not asked for: the parser tells it in its log and reads on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgezoo import graphs
from edgezoo.backends.tensorrt.limits import Node, Version, limits
from edgezoo.errors import UnknownName
from edgezoo.records import parse_toml

# ONNX's numbers of element types (onnx.proto3, TensorProto.DataType), by NVIDIA's names where they have one.
_KINDS = {
    1: "FP32", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "STRING", 9: "BOOL",
    10: "FP16", 11: "FP64", 12: "UINT32", 13: "UINT64", 14: "COMPLEX64", 15: "COMPLEX128", 16: "BF16", 17: "FP8",
    18: "FP8E4M3FNUZ", 19: "FP8E5M2", 20: "FP8E5M2FNUZ", 21: "UINT4", 22: "INT4", 23: "FP4",
}  # fmt: skip
_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
_BYTES_TO = ("FP32", "FP16")  # https://docs.nvidia.com/deeplearning/tensorrt: DataType.UINT8
# Where the type that is documented is not that of the first input, else of the first output.
_MAIN_INPUT = {"Where": 1, "OneHot": 2}
_BY_OUTPUT = ("CastLike", "ConstantOfShape", "EyeLike", "If", "Loop", "Scan")


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """What the parser of one version documents."""

    version: Version
    opset: int
    types: frozenset[str]
    operators: Mapping[str, frozenset[str]]
    """The types of each; none where nothing is said about them."""


@dataclass(frozen=True, slots=True)
class _Finding:
    node: str
    why: str
    """What is wrong, and what to do."""


def known() -> tuple[str, ...]:
    """The versions at which what is read changed; those between read what the one before does."""
    return tuple(f"{major}.{minor}" for major, minor in _releases())


def refusals(graph: bytes, tensorrt: str) -> list[str]:
    """What the parser of that version (`8.6`, `10.3.0`, `11`) would not read of a graph: a line each, with the cure.

    What is wrong with many nodes is one line, which names the first. Raises ValueError for what is no ONNX file, and
    UnknownName for a version that nothing is known of.
    """
    version, release = _release(tensorrt)
    net = _Net(graphs.parse(graph), version, release)
    found: dict[tuple[str, str], list[str]] = {}
    for rule in (_whole, _ports, _operators, _bytes, _quantisers):
        for finding in rule(net):
            found.setdefault((finding.node.partition(" ")[0], finding.why), []).append(finding.node)
    for node in net.nodes:
        for why in limits(node, net.constants, net.fixed, version):
            found.setdefault((node.op_type, why), []).append(_called(node))
    return [
        f"{nodes[0]}{f' and {len(nodes) - 1} more' if len(nodes) > 1 else ''}: {why}"
        for (_, why), nodes in found.items()
    ]


def notes(graph: bytes, tensorrt: str) -> list[str]:
    """What is read as something else than it says; a line each. Raises what `refusals` raises."""
    version, release = _release(tensorrt)
    net = _Net(graphs.parse(graph), version, release)
    kinds = set(net.kinds.values())
    found = []
    if "INT64" in kinds and "INT64" not in release.types:
        found.append(f"{net.name} computes int64 in int32; larger values are clamped")
    if "FP64" in kinds:
        found.append(f"{net.name} computes float64 in float32; larger values are clamped")
    return found


def _release(told: str) -> tuple[Version, Release]:
    """The version, and what was documented last for it."""
    found = re.fullmatch(r"(\d{1,3})(?:\.(\d{1,3}))?(?:\.[\w.+-]*)?", told.strip())
    version = (int(found[1]), int(found[2] or 0)) if found else (0, 0)
    fitting = [each for each in _releases() if each[0] == version[0] and each <= version]
    if not fitting:
        raise UnknownName("TensorRT version", told, known())
    return version, _releases()[max(fitting)]


@cache
def _releases() -> Mapping[Version, Release]:
    """By version, oldest first."""
    read: dict[Version, Release] = {}
    opset, types, operators = 0, frozenset[str](), dict[str, frozenset[str]]()
    text = (Path(__file__).parent / "operators.toml").read_text("utf-8")
    for table in parse_toml(text)["release"]:
        major, _, minor = table["version"].partition(".")
        if "types" in table:
            types, operators = frozenset(table["types"].split()), {}
        opset = table.get("opset", opset)
        operators = operators | {
            name: frozenset(kinds.split())
            for kinds, names in table.get("operators", {}).items()
            for name in names.split()
        }
        version = int(major), int(minor)
        read[version] = Release(version=version, opset=opset, types=types, operators=operators)
    return read


class _Net:
    """A graph and what must be known of its tensors; nodes of inner graphs stand behind their own."""

    def __init__(self, model: Any, version: Version, release: Release) -> None:
        self.model, self.version, self.release = model, version, release
        self.kinds = {name: _KINDS.get(kind, f"type {kind}") for name, kind in graphs.kinds(model).items()}
        self.nodes: list[Node] = []
        self.constants: dict[str, Any] = {}
        """What is stored, by name."""
        self.fixed: set[str] = set()
        """What is computed from that alone, too."""
        self._read(model.graph)
        self.inputs = [port.name for port in model.graph.input if port.name not in self.constants]
        self.outputs = [port.name for port in model.graph.output]
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self.readers: dict[str, list[tuple[Node, int]]] = {}
        for node in self.nodes:
            for place, name in enumerate(node.input):
                self.readers.setdefault(name, []).append((node, place))

    def _read(self, graph: Any) -> None:
        self.constants |= {tensor.name: tensor for tensor in graph.initializer}
        self.fixed.update(tensor.name for tensor in graph.initializer)
        for node in graph.node:
            self.nodes.append(node)
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t
            if all(name in self.fixed for name in node.input if name) and not node.op_type.startswith("Random"):
                self.fixed.update(node.output)
            for attribute in node.attribute:
                for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                    self._read(inner)

    def kind(self, name: str) -> str:
        """Of a tensor, as this version computes it; empty where it is not known."""
        kind = self.kinds.get(name, "")
        if kind == "FP64":
            return "FP32"
        return "INT32" if kind == "INT64" and "INT64" not in self.release.types else kind

    @property
    def name(self) -> str:
        return f"TensorRT {self.version[0]}.{self.version[1]}"


def _called(node: Node) -> str:
    return f"{node.op_type} {node.name or next(iter(node.output), '')!r}"


# The rules.


def _whole(net: _Net) -> Iterator[_Finding]:
    stated = max((entry.version for entry in net.model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if stated > net.release.opset:
        cure = "convert the model again, which writes 17 where it can"
        if any(node.op_type in _QUANTISERS for node in net.nodes):
            cure = f"make it with: edgezoo convert MODEL --precision int8-tensorrt --tensorrt {_oldest(net.version)}"
        yield _Finding("the graph", f"opset {stated}; {net.name} reads up to {net.release.opset}; {cure}")
    elif stated < 9 <= net.version[0]:
        yield _Finding("the graph", f"opset {stated}; {net.name} reads 9 and newer; convert it to that")
    if net.model.functions and net.version < (9, 0):
        yield _Finding("the graph", f"it has local functions, which {net.name} does not read; inline them")
    for place in sorted(set(graphs.outside_data(net.model))):
        yield _Finding("the graph", f"weights lie in another file, {place!r}; save it as one file")


def _oldest(version: Version) -> str:
    """What `edgezoo convert --tensorrt` takes."""
    return "8.6" if version < (10, 0) else str(version[0])


def _ports(net: _Net) -> Iterator[_Finding]:
    for side, names in (("input", net.inputs), ("output", net.outputs)):
        for name in names:
            kind = net.kinds.get(name, "")
            if kind and net.kind(name) not in net.release.types:
                yield _Finding(f"{side} {name!r}", f"{net.name} has no {kind}; cast it to another type")
            elif kind and net.kind(name) != kind:
                yield _Finding(f"{side} {name!r}", f"{net.name} makes {net.kind(name)} of {kind}; cast it to that")


def _operators(net: _Net) -> Iterator[_Finding]:
    functions = {(each.domain, each.name) for each in net.model.functions}
    for node in [*net.nodes, *(node for each in net.model.functions for node in each.node)]:
        if (node.domain, node.op_type) in functions:
            continue
        if node.domain not in ("", "ai.onnx"):
            why = f"{net.name} reads {node.domain} with a plugin alone, and edgezoo has none; use ONNX's own operators"
            yield _Finding(_called(node), why)
        elif node.op_type not in net.release.operators:
            yield _Finding(_called(node), f"{net.name} does not read this operator{_since(net, node.op_type)}")
        else:
            yield from _types(net, node, net.release.operators[node.op_type])


def _since(net: _Net, op: str) -> str:
    later = [version for version, each in _releases().items() if op in each.operators and version > net.version]
    return f"; {later[0][0]}.{later[0][1]} does" if later else "; write it with others"


def _types(net: _Net, node: Node, read: frozenset[str]) -> Iterator[_Finding]:
    names = [*node.input[_MAIN_INPUT.get(node.op_type, 0) :][:1]] if node.op_type not in _BY_OUTPUT else []
    if node.op_type == "Cast" or not any(names):
        names += node.output[:1]
    for name in names:
        kind = net.kind(name)
        # Bytes have a rule of their own.
        if kind and kind != "UINT8" and read and kind not in read:
            listed = ", ".join(sorted(read))
            yield _Finding(_called(node), f"{net.name} reads it for {listed}, not for {kind}; cast before it")
            return


def _bytes(net: _Net) -> Iterator[_Finding]:
    """UINT8 comes in or goes out, by way of a Cast, and is nowhere else."""
    for name, kind in net.kinds.items():
        if kind != "UINT8":
            continue
        readers, maker = net.readers.get(name, []), net.makers.get(name)
        if name in net.inputs:
            for node, _ in readers:
                if node.op_type != "Cast" or net.kind(node.output[0]) not in _BYTES_TO:
                    why = f"it reads the bytes of {name!r}, which {net.name} only casts to float; put that Cast first"
                    yield _Finding(_called(node), why)
        elif name in net.constants:
            for node, place in readers:
                if not (node.op_type in _QUANTISERS and place == 2):
                    yield _Finding(_called(node), "it reads a stored uint8; store it in another type")
        elif maker is not None and maker.op_type not in _QUANTISERS:
            if name not in net.outputs or readers:
                yield _Finding(_called(maker), f"it gives uint8 inside the graph, where {net.name} has none; use float")
            elif maker.op_type != "Cast" or net.kind(maker.input[0]) not in _BYTES_TO:
                yield _Finding(_called(maker), "uint8 goes out of a Cast from float alone; put one last")


def _quantisers(net: _Net) -> Iterator[_Finding]:
    scales = net.release.operators["QuantizeLinear"] if net.version >= (10, 0) else frozenset({"FP32"})
    for node in net.nodes:
        if node.op_type not in _QUANTISERS:
            continue
        ends = [*node.input, "", ""]
        kind, zero = net.kind(ends[1]), ends[2]
        if kind and kind not in scales:
            cure = f"make it with: edgezoo convert MODEL --precision int8-tensorrt --tensorrt {_oldest(net.version)}"
            why = f"its scale is {kind}, and {net.name} reads {', '.join(sorted(scales))}; {cure}"
            yield _Finding(_called(node), why)
        if ends[1] not in net.fixed:
            yield _Finding(_called(node), "its scale is computed; store it")
        if zero and (zero not in net.constants or not _is_zero(net.constants[zero])):
            yield _Finding(_called(node), "its zero point is not 0; quantise symmetrically")
        made = net.kind(node.output[0])
        if node.op_type == "QuantizeLinear" and made and made not in net.release.operators["DequantizeLinear"]:
            yield _Finding(_called(node), f"it makes {made}, and {net.name} reads int8; quantise symmetrically")


def _is_zero(tensor: Any) -> bool:
    return not (any(tensor.raw_data) or any(tensor.int32_data) or any(tensor.float_data))
