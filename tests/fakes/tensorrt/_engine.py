"""Engine bytes of the fake's own: a header of JSON, the graph, and a sum over both."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

from cuda._device import DEVICE, gpus
from cuda._errors import Failure

from tensorrt._logger import Dims, IHostMemory, ILogger, tell
from tensorrt._names import ENUMS, NUMBERS, VERSION, Real, Stored, real

_MAGIC = b"ftrt"  # NVIDIA's begin with "ftrt" as well


class Unfit(Exception):
    """Bytes that this TensorRT, or this GPU, does not take."""


def pack(header: dict[str, Any], graph: bytes) -> bytes:
    told = json.dumps(header).encode()
    body = struct.pack("<II", len(told), len(graph)) + told + graph
    return _MAGIC + struct.pack("<I", zlib.crc32(body)) + body


def unpack(serialized: bytes) -> tuple[dict[str, Any], bytes]:
    """Raises Unfit."""
    if not serialized.startswith(_MAGIC) or len(serialized) < 16:
        raise Unfit("Error Code 1: Serialization (Serialization assertion magicTagRead == kMAGIC_TAG failed.)")
    (summed, told, size) = struct.unpack_from("<III", serialized, 4)
    if len(serialized) != 16 + told + size or zlib.crc32(serialized[8:]) != summed:
        raise Unfit("Error Code 1: Serialization (Serialization assertion sizeRead == serializedSize failed.)")
    return json.loads(serialized[16 : 16 + told]), serialized[16 + told :]


@real
class Runtime(Real):
    logger = property(lambda self: self._logger)
    engine_host_code_allowed = Stored(False, bool)
    max_threads = Stored(1, int)
    DLA_core = Stored(-1, int)
    num_DLA_cores = property(lambda self: 2 if "Orin" in gpus()[0][0] else 0)  # noqa: N815

    def __init__(self, logger: ILogger) -> None:
        super().__init__()
        self._logger = logger
        try:
            gpus()
        except Failure as error:
            tell(logger, "ERROR", f"CUDA initialization failure with error: {int(error.code)}")
            raise TypeError("pybind11::init(): factory function returned nullptr") from None

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        """None, and an error to the logger, for bytes that do not fit."""
        try:
            header, graph = unpack(bytes(serialized_engine))
            self._check(header)
        except Unfit as error:
            tell(self._logger, "ERROR", f"IRuntime::deserializeCudaEngine: {error}")
            return None
        return ICudaEngine(header, graph, self._logger)

    def _check(self, header: dict[str, Any]) -> None:
        built = tuple(int(part) for part in header["version"].split("."))
        if header["version"] != VERSION and ("VERSION_COMPATIBLE" not in header["flags"] or built > NUMBERS):
            raise Unfit(
                "Error Code 1: Serialization (Serialization assertion stdVersionRead == kSERIALIZATION_VERSION "
                f"failed.Version tag does not match. Note: Current Version: {VERSION}, "
                f"Serialized Engine Version: {header['version']})"
            )
        if header["lean"] and not self.engine_host_code_allowed:
            raise Unfit("Error Code 6: API Usage Error (engine host code is not allowed, see setEngineHostCodeAllowed)")
        name, major, minor = gpus()[0]
        ampere = header["hardware"] == "AMPERE_PLUS" and major >= 8
        if header["capability"] != f"{major}.{minor}" and not ampere:
            raise Unfit(
                "Error Code 6: API Usage Error (The engine plan file is generated on an incompatible device, "
                f"expecting compute {major}.{minor} got compute {header['capability']}, please rebuild.)"
            )
        if header["gpu"] != name and header["hardware"] == "NONE":
            tell(
                self._logger,
                "WARNING",
                "Using an engine plan file across different models of devices is not recommended and is likely to "
                "affect performance or even cause errors.",
            )


@real
class ICudaEngine(Real):
    name = property(lambda self: "Unnamed Network 0")
    num_io_tensors = property(lambda self: len(self._ports))
    num_layers = property(lambda self: len(self._header["layers"]))
    num_optimization_profiles = property(lambda self: max(1, len(self._header["profiles"])))
    num_aux_streams = property(lambda self: 0)
    refittable = property(lambda self: False)
    device_memory_size = property(lambda self: 2**20)
    device_memory_size_v2 = property(lambda self: 2**20)
    profiling_verbosity = property(lambda self: ENUMS["ProfilingVerbosity"][self._header["verbosity"]])
    engine_capability = property(lambda self: ENUMS["EngineCapability"].STANDARD)
    hardware_compatibility_level = property(lambda self: ENUMS["HardwareCompatibilityLevel"][self._header["hardware"]])

    def __init__(self, header: dict[str, Any], graph: bytes, logger: ILogger) -> None:
        super().__init__()
        from tensorrt._running import Graph

        self._header, self._graph, self._logger = header, Graph(graph), logger
        self._ports = {tensor.name: tensor for tensor in (*self._graph.inputs, *self._graph.outputs)}
        self._serialized = pack(header, graph)
        DEVICE.engines.add(self)

    def _port(self, name: str) -> Any:
        if name not in self._ports:
            tell(self._logger, "ERROR", f"ICudaEngine: Error Code 3: API Usage Error (no tensor is named {name})")
        return self._ports.get(name)

    def get_tensor_name(self, index: int) -> str:
        return list(self._ports)[index]

    def get_tensor_mode(self, name: str) -> Any:
        modes = ENUMS["TensorIOMode"]
        port = self._port(name)
        return modes.NONE if port is None else modes.INPUT if port in self._graph.inputs else modes.OUTPUT

    def get_tensor_shape(self, name: str) -> Dims:
        port = self._port(name)
        return Dims([-1] if port is None else port._shape)

    def get_tensor_dtype(self, name: str) -> Any:
        port = self._port(name)
        return ENUMS["DataType"].FLOAT if port is None else port.dtype

    def get_tensor_location(self, name: str) -> Any:
        return ENUMS["TensorLocation"].DEVICE

    def get_tensor_format(self, name: str) -> Any:
        return ENUMS["TensorFormat"].LINEAR

    def get_tensor_format_desc(self, name: str) -> str:
        return f"Row major linear {self.get_tensor_dtype(name).name} format (kLINEAR)"

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        """The shape itself, three times, of an input that has no range."""
        profiles = self._header["profiles"]
        given = profiles[profile_index].get(name) if profile_index < len(profiles) else None
        return [Dims(shape) for shape in given or [self._ports[name]._shape] * 3]

    def is_shape_inference_io(self, name: str) -> bool:
        return False

    if NUMBERS[0] < 10:

        def create_execution_context(self) -> Any:
            return self._context()

    else:

        def create_execution_context(self, strategy: Any = None) -> Any:
            return self._context()

    def _context(self) -> Any:
        from tensorrt._context import IExecutionContext

        return IExecutionContext(self)

    def create_engine_inspector(self) -> Any:
        from tensorrt._inspector import EngineInspector

        return EngineInspector(self)

    def serialize(self) -> IHostMemory:
        return IHostMemory(self._serialized)

    def get_device_memory_size_for_profile(self, profile_index: int) -> int:
        return 2**20

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        return 2**20
