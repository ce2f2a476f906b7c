"""Whether an engine that was built elsewhere is one of a graph and runs here; in the builder's process, for whatever it
does when it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from edgezoo import graphs
from edgezoo.backends import Port
from edgezoo.backends.tensorrt import TensorRtBackend, cuda, loaded
from edgezoo.backends.tensorrt.logger import said
from edgezoo.backends.tensorrt.versions import version_of
from edgezoo.errors import RequestError

if TYPE_CHECKING:
    import onnx

    from edgezoo.backends.tensorrt.building import Order

_BY_WIDTH = ("int8", "fp16", "bf16", "fp32")


def check(order: Order, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Load the engine in `order.into`, compare its inputs and outputs with the graph's, and run it once.

    Raises RequestError, BackendError, MissingDependency.
    """
    tell({"start": "trying the engine", "parent": None, "steps": 1})
    trt: Any = cuda.tensorrt()
    cuda.checked(cuda.runtime().cudaSetDevice(order.device))
    data = order.graph.read_bytes()
    runtime, engine = loaded(order.into.read_bytes(), order.options)
    if engine is None:
        raise RequestError(
            f"TensorRT {trt.__version__} does not take it: {said()}; build it with this version, on this kind of GPU"
        )
    wanted = _ports(graphs.parse(data), wide=version_of(trt.__version__) >= (10, 0))
    with closing(TensorRtBackend(runtime, engine, device=order.device, captured=False)) as backend:
        for side, there in zip(wanted, (backend.inputs, backend.outputs), strict=True):
            _compare(side, there)
        n = backend.batches[1]
        backend.run(
            {port.name: np.zeros((n, *(s or 1 for s in port.shape[1:])), port.dtype) for port in backend.inputs}
        )
        computes = backend.runs.precisions
    if word := _other_precisions(computes, graphs.precisions_in(data)):
        tell({"say": word})
    return {"layers": engine.num_layers}


def _ports(model: onnx.ModelProto, *, wide: bool) -> tuple[list[Port], list[Port]]:
    """The graph's inputs and outputs; `wide`: this TensorRT has 64-bit integers."""
    from onnx import helper

    def port(value: onnx.ValueInfoProto) -> Port:
        kind = value.type.tensor_type
        dtype = str(np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)))
        shape = (size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim)
        return Port(value.name, dtype if wide or dtype != "int64" else "int32", tuple(shape))

    stored = {tensor.name for tensor in model.graph.initializer}
    door = [port(value) for value in model.graph.input if value.name not in stored]
    return door, [port(value) for value in model.graph.output]


def _compare(wanted: Sequence[Port], there: Sequence[Port]) -> None:
    found = {port.name: port for port in there}
    if {port.name for port in wanted} != set(found) or not all(_is(port, found[port.name]) for port in wanted):
        raise RequestError(
            f"expected {_told(wanted)} as this artifact has them, the engine has {_told(there)}; build it of the "
            "artifact's own .onnx"
        )


def _is(wanted: Port, there: Port) -> bool:
    same = wanted.dtype == there.dtype and len(wanted.shape) == len(there.shape)
    return same and all(size in (None, found) for size, found in zip(wanted.shape, there.shape, strict=True))


def _told(ports: Sequence[Port]) -> str:
    """`boxes float32 (N, 1, 4) and scores float32 (N, 1, 3)`."""
    shown = []
    for port in ports:
        sizes = (str(size) if size is not None else "?" if k else "N" for k, size in enumerate(port.shape))
        shown.append(f"{port.name} {port.dtype} ({', '.join(sizes)})")
    return " and ".join(shown) or "none"


def _other_precisions(computes: Collection[str], graph: Collection[str]) -> str:
    """A sentence where the engine's layers compute in something else than the graph says."""
    own = next((name for name in _BY_WIDTH if name in graph), "fp32")
    if not computes:
        return (
            f"the engine does not tell what it computes in, and the artifact is {own}; trtexec has it tell with "
            "--profilingVerbosity=detailed"
        )
    if own in computes and not set(computes) - set(graph) - {"fp32"}:
        return ""
    return f"the engine computes in {', '.join(computes)}, and the artifact is {own}: its answers may be further off"
