"""The ONNX parser: it takes what `onnx.checker` takes, up to the opset of its version, and no operator `Unknown…`.

Stricter than the real one in one thing: a newer opset than its documents promise is refused as a whole, where that
one may take it as long as it knows every operator.
"""

from __future__ import annotations

from typing import Any

import onnx

from tensorrt._logger import ILogger, environment, tell
from tensorrt._names import ENUMS, NUMBERS, Real, real
from tensorrt._network import INetworkDefinition, type_of

ErrorCode = ENUMS["ErrorCode"]

# The newest opset of the default domain that the parser of a version imports, from the operator lists that NVIDIA's
# onnx-tensorrt keeps for each release.
_CEILINGS = {(8, 6): 17, (10, 3): 20, (10, 13): 23, (11, 4): 24}


@real
class ParserError(Real):
    def __init__(self, code: str, why: str, place: int = -1, node: onnx.NodeProto | None = None) -> None:
        super().__init__()
        self._code, self._why, self._place = ErrorCode[code], why, place
        self._name, self._operator = (node.name, node.op_type) if node else ("", "")

    def code(self) -> Any:
        return self._code

    def desc(self) -> str:
        return self._why

    def file(self) -> str:
        return "ModelImporter.cpp"

    def line(self) -> int:
        return 0

    def func(self) -> str:
        return "parseNode"

    def node(self) -> int:
        return self._place

    def node_name(self) -> str:
        return self._name

    def node_operator(self) -> str:
        return self._operator

    def __str__(self) -> str:
        return f"In node {self._place} with name: {self._name} and operator: {self._operator}: {self._why}"


@real
class OnnxParser(Real):
    num_errors = property(lambda self: len(self._errors))
    flags = property(lambda self: self._flags, lambda self, flags: self.__dict__.update(_flags=int(flags)))

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        super().__init__()
        self._network, self._logger, self._flags = network, logger, 0
        self._errors: list[ParserError] = []

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def clear_errors(self) -> None:
        self._errors.clear()

    def set_flag(self, flag: Any) -> None:
        self._flags |= 1 << int(flag)

    def clear_flag(self, flag: Any) -> None:
        self._flags &= ~(1 << int(flag))

    def get_flag(self, flag: Any) -> bool:
        return bool(self._flags >> int(flag) & 1)

    def parse_from_file(self, model: str) -> bool:
        with open(model, "rb") as file:
            return self.parse(file.read())

    def parse(self, model: Any, path: str | None = None) -> bool:
        error = self._wrong(bytes(model))
        if error is not None:
            self._errors.append(error)
            tell(self._logger, "ERROR", str(error))
        return error is None

    def _wrong(self, serialized: bytes) -> ParserError | None:
        explicit = ENUMS["NetworkDefinitionCreationFlag"].__members__.get("EXPLICIT_BATCH")
        if NUMBERS[0] < 10 and not self._network._flags >> int(explicit) & 1:
            return ParserError(
                "INVALID_VALUE",
                "This version of the ONNX parser only supports networks with an explicit batch dimension.",
            )
        try:
            proto = onnx.load_model_from_string(serialized)
        except Exception:
            return ParserError("MODEL_DESERIALIZE_FAILED", "Failed to parse the ONNX model.")
        ceiling = _CEILINGS[NUMBERS[:2]]
        opset = max((one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")), default=0)
        if opset > ceiling:
            node = proto.graph.node[0]
            return ParserError("UNSUPPORTED_NODE", f"opset {opset}: the newest that is supported is {ceiling}", 0, node)
        for place, node in enumerate(proto.graph.node):
            if node.op_type.startswith("Unknown"):
                return ParserError("UNSUPPORTED_NODE", f"No importer registered for op: {node.op_type}", place, node)
        try:
            onnx.checker.check_model(proto)
        except onnx.checker.ValidationError as error:
            return ParserError("INVALID_GRAPH", str(error).partition("\n")[0])
        if environment("FAIL") == "parse":
            place = len(proto.graph.node) // 2
            return ParserError("INVALID_NODE", "FAKE_TENSORRT_FAIL=parse", place, proto.graph.node[place])
        for value in [*proto.graph.input, *proto.graph.output]:
            if type_of(value.type.tensor_type.elem_type) is None:
                return ParserError("UNSUPPORTED_GRAPH", f"{value.name}: a type that this version does not have")
        self._network._fill(proto)
        return None
