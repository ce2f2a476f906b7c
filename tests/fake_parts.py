"""Parts that the tests of the fakes are made of: small graphs, builds told what to do, and both ends of a copy."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def graph(*, opset: int = 17, operator: str = "Mul", dynamic: bool = True, half: bool = False) -> bytes:
    """`images` uint8 (N, 2, 2, 3) to `doubled`."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    size = ["N" if dynamic else 1, 2, 2, 3]
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], "cast", to=kind),
        helper.make_node(operator, ["real", "two"], ["doubled"], "double"),
    ]
    return model(
        nodes, [("images", TensorProto.UINT8, size)], [("doubled", kind, size)], {"two": 2}, half=half, opset=opset
    )


def model(
    nodes: Any, inputs: Any, outputs: Any, weights: dict[str, Any], *, half: bool = False, opset: int = 17
) -> bytes:
    number = np.float16 if half else np.float32
    tensors = [
        numpy_helper.from_array(np.asarray(value, None if isinstance(value, np.ndarray) else number), name)
        for name, value in weights.items()
    ]
    ports = [[helper.make_tensor_value_info(*port) for port in side] for side in (inputs, outputs)]
    whole = helper.make_graph(nodes, "graph", *ports, tensors)
    made = helper.make_model(whole, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    return made.SerializeToString()


class Said(list[str]):
    """What TensorRT told the logger."""


def logger() -> tuple[Any, Said]:
    import tensorrt as trt

    said = Said()

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            said.append(f"{severity.name}: {msg}")

    return Logger(), said


def told_to(
    serialized: bytes, *, ranges: Any = ((1,), (2,), (4,)), flags: Any = (), network: Any = None, **settings: Any
) -> Any:
    """A builder with the network and the configuration, and what was said so far."""
    import tensorrt as trt

    ears, said = logger()
    builder = trt.Builder(ears)
    if network is None:
        network = ["EXPLICIT_BATCH"] if trt.__version__.startswith("8") else []
    bits = sum(1 << int(getattr(trt.NetworkDefinitionCreationFlag, name)) for name in network)
    definition = builder.create_network(bits)
    parser = trt.OnnxParser(definition, ears)
    parsed = parser.parse(serialized)
    config = builder.create_builder_config()
    if parsed and ranges:
        profile = builder.create_optimization_profile()
        port = definition.get_input(0)
        profile.set_shape(port.name, *((*n, *tuple(port.shape)[1:]) for n in ranges))
        config.add_optimization_profile(profile)
    for name in flags:
        config.set_flag(getattr(trt.BuilderFlag, name))
    for name, value in settings.items():
        setattr(config, name, value)
    return builder, definition, config, parser, said


def built(serialized: bytes, **settings: Any) -> Any:
    builder, network, config, _, said = told_to(serialized, **settings)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None, said
    return engine


def loaded(serialized: Any, **settings: Any) -> tuple[Any, Said]:
    import tensorrt as trt

    ears, said = logger()
    runtime = trt.Runtime(ears)
    for name, value in settings.items():
        setattr(runtime, name, value)
    return runtime.deserialize_cuda_engine(serialized), said


def ok(answer: tuple[Any, ...]) -> Any:
    assert answer[0] == 0, answer[0]
    return answer[1] if len(answer) == 2 else answer[1:]


def pinned(shape: tuple[int, ...], dtype: Any) -> tuple[int, Any]:
    from cuda.bindings import runtime as cudart

    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    address = ok(cudart.cudaHostAlloc(size, 0))
    return address, np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype).reshape(shape)


class Device:
    """A stream, and two ends of a copy."""

    def __init__(self, count: int = 16) -> None:
        from cuda.bindings import runtime as cudart

        self.cudart, self.kind = cudart, cudart.cudaMemcpyKind
        self.stream = ok(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
        self.host, self.array = pinned((count,), np.uint8)
        self.device = ok(cudart.cudaMalloc(count))
        self.count = count

    def up(self, count: int | None = None) -> Any:
        size = self.count if count is None else count
        return self.cudart.cudaMemcpyAsync(self.device, self.host, size, self.kind.cudaMemcpyHostToDevice, self.stream)

    def down(self, to: int) -> Any:
        return self.cudart.cudaMemcpyAsync(to, self.device, self.count, self.kind.cudaMemcpyDeviceToHost, self.stream)
