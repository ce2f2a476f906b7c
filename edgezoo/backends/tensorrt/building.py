"""Build an engine of a graph; a program of its own, `python -m edgezoo.backends.tensorrt.building`.

A process of its own can be stopped at any time, in every version of TensorRT; what kills it kills nobody else, and its
memory on the device is free when it ends. One line of JSON on stdin says what to build (`Order`); news come as lines of
JSON on stdout, the last one `done` or `error`. When stdin closes, whoever ordered has gone, and so does the build.
An engine that was built elsewhere is tried here, too (`checking.py`).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgezoo import graphs
from edgezoo.backends.tensorrt import cuda
from edgezoo.backends.tensorrt.checking import check
from edgezoo.backends.tensorrt.logger import logger, said, starting
from edgezoo.backends.tensorrt.options import BuildOptions, read_options
from edgezoo.backends.tensorrt.parser import refusals
from edgezoo.backends.tensorrt.versions import Dialect, dialect, version_of
from edgezoo.errors import BackendError, EdgezooError

News = Callable[[dict[str, Any]], None]
_PATIENCE_S = 4.0  # from being asked to stop until it is ended


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What is to be built, and where to."""

    model: str
    """What a command names bundle and artifact, `digits --precision fp32`."""
    graph: Path
    into: Path
    """For the engine's bytes."""
    timing: Path
    """The timing cache to begin with, where there is one; the new one stands beside it, `.new` behind its name."""
    device: int
    options: BuildOptions
    check: bool = False
    """Build nothing: try the engine that is there."""


def build(order: Order, tell: News, stop: threading.Event) -> dict[str, Any]:
    """Build, and write the engine's bytes; what is worth knowing of it.

    Raises BackendError, RequestError, MissingDependency.
    """
    trt: Any = cuda.tensorrt()
    cuda.checked(cuda.runtime().cudaSetDevice(order.device))
    data = order.graph.read_bytes()
    precisions = graphs.precisions_in(data)
    says = dialect(trt.__version__, precisions, order.options)
    _check(data, trt.__version__)
    with starting():
        builder = trt.Builder(logger())
    network = builder.create_network(_bits(trt.NetworkDefinitionCreationFlag, says.network_flags))
    parser = trt.OnnxParser(network, logger())
    for name in says.parser_flags if hasattr(trt, "OnnxParserFlag") else ():  # 8.6.0 has none
        parser.set_flag(getattr(trt.OnnxParserFlag, name))
    tell({"start": "reading the graph", "parent": None, "steps": 1})
    if not parser.parse(data):
        raise BackendError(_refusal(parser, data, trt.__version__, order.model))
    if not network.num_outputs:  # what is no graph at all is read as an empty one
        raise BackendError(
            f"TensorRT {trt.__version__} found no output in the graph; `edgezoo verify` tells if it is whole"
        )
    tell({"finish": "reading the graph"})
    if says.pins:
        _pin(trt, network)
    config = _configured(trt, builder, network, order.options, says)
    if order.options.dla is not None:
        tell({"say": _share_of_dla(network, config)})
    timing = _timing(config, order.timing)
    if says.tells:
        monitor = _monitor(trt, tell, stop)  # TensorRT keeps none alive
        config.progress_monitor = monitor
    else:
        tell({"start": "building engine", "parent": None, "steps": 1})
    logger().errors.clear()
    engine = builder.build_serialized_network(network, config)
    if stop.is_set():
        raise BackendError("the build was stopped")
    if engine is None:
        raise BackendError(_failure(trt.__version__, order.options))
    order.into.write_bytes(memoryview(engine))
    order.timing.with_name(order.timing.name + ".new").write_bytes(memoryview(timing.serialize()))
    return {"layers": network.num_layers}


def _check(data: bytes, version: str) -> None:
    """BackendError for what TensorRT before 10 would not read: of newer operators it reads some wrongly, in silence."""
    if version_of(version) < (10, 0) and (found := refusals(data, version)):
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise BackendError(f"TensorRT {version} does not read {found[0]}{more}")


def _configured(trt: Any, builder: Any, network: Any, options: BuildOptions, says: Dialect) -> Any:
    """The builder's configuration."""
    config = builder.create_builder_config()
    for name in says.preview_features:
        config.set_preview_feature(getattr(trt.PreviewFeature, name), True)
    for name in says.builder_flags:
        config.set_flag(getattr(trt.BuilderFlag, name))
    config.clear_flag(trt.BuilderFlag.TF32)  # ten bits of mantissa, and on unless told otherwise: fp32 means fp32
    config.builder_optimization_level = options.optimization
    config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, says.hardware)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that the engine tells what it computes in
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    if options.dla is not None:
        if options.dla >= builder.num_DLA_cores:
            count = builder.num_DLA_cores
            cure = (
                f"there are {count}, counted from 0: try --dla 0" if count else "this device has none: leave out --dla"
            )
            raise BackendError(f"asked for DLA core {options.dla}, but {cure}")
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = options.dla
    _set_ranges(builder, network, config, options)
    return config


def _share_of_dla(network: Any, config: Any) -> str:
    """How much of the graph the DLA takes; what it does not, the GPU runs. BackendError where that is all."""
    taken = sum(config.can_run_on_DLA(network.get_layer(k)) for k in range(network.num_layers))
    if not taken:
        raise BackendError(
            "the DLA takes no layer of this graph; it computes in fp16 and int8 alone: try without --dla"
        )
    return f"{taken} of {network.num_layers} layers can run on the DLA, the GPU runs the rest"


def _set_ranges(builder: Any, network: Any, config: Any, options: BuildOptions) -> None:
    """The shapes of the inputs: N within the batch range, the rest as the graph fixes it."""
    ranges = builder.create_optimization_profile()
    for k in range(network.num_inputs):
        port = network.get_input(k)
        first, *rest = tuple(port.shape)
        if min(rest, default=1) < 1:
            raise BackendError(f"expected {port.name} of a size that is fixed but for N, got {(first, *rest)}")
        if first > 0 and {first} != {*options.batch}:
            raise BackendError(f"the graph takes batches of {first} alone; try --batch {first}")
        ranges.set_shape(port.name, *((n, *rest) for n in options.batch))
    config.add_optimization_profile(ranges)


def _timing(config: Any, path: Path) -> Any:
    """The timing cache to build with, begun with what `path` holds; afresh where TensorRT does not take that."""
    known = path.read_bytes() if path.is_file() else b""
    timing = config.create_timing_cache(known)
    if timing is None or not config.set_timing_cache(timing, False):
        timing = config.create_timing_cache(b"")
        config.set_timing_cache(timing, False)
    return timing


def _pin(trt: Any, network: Any) -> None:
    """Have every layer compute in the type that the graph gives it; the fastest would be picked else.

    Not those that have no choice, nor those that work out shapes.
    """
    real = (trt.DataType.FLOAT, trt.DataType.HALF)
    fixed = (trt.LayerType.CONSTANT, trt.LayerType.SHAPE, trt.LayerType.CAST)
    for k in range(network.num_layers):
        layer = network.get_layer(k)
        kinds = [layer.get_output(each).dtype for each in range(layer.num_outputs)]
        shapes = [layer.get_output(0), *([layer.get_input(0)] if layer.num_inputs else [])] if kinds else []
        if kinds and kinds[0] in real and layer.type not in fixed and not any(each.is_shape_tensor for each in shapes):
            layer.precision = kinds[0]
            for each, kind in enumerate(kinds):
                layer.set_output_type(each, kind)


def _monitor(trt: Any, tell: News, stop: threading.Event) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Nothing may be raised here: TensorRT would end the process."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            tell({"start": name, "parent": parent, "steps": steps})

        def step_complete(self, name: str, step: int) -> bool:
            tell({"step": step, "phase": name})
            return not stop.is_set()

        def phase_finish(self, name: str) -> None:
            tell({"finish": name})

    return Monitor()


def _refusal(parser: Any, data: bytes, version: str, model: str) -> str:
    """The parser's first error as a line that names the node, and what to do."""
    errors = [parser.get_error(k) for k in range(parser.num_errors)]
    if not errors:
        return (
            f"TensorRT {version} could not read the graph, and does not say why; `edgezoo verify` tells if it is whole"
        )
    first, more = errors[0], f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    nodes = graphs.parse(data).graph.node
    node = nodes[first.node()] if 0 <= first.node() < len(nodes) else None
    where = f"{node.op_type} {node.name or node.output[0]}" if node is not None else "the graph"
    why = " ".join(first.desc().split())[:200]
    check = ".".join(version.split(".")[:2])
    return (
        f"TensorRT {version} does not read {where}: {why}{more}; `edgezoo compile {model} --check {check}` tells "
        "all that it does not read, and what to do"
    )


def _failure(version: str, options: BuildOptions) -> str:
    """The error that says most, for the last one often says that there was one, and what helps."""
    room = "end what else runs on the GPU, for its kernels may need more memory than is free"
    if options.workspace_mb is not None:
        room = "leave out --workspace, for its kernels may need more"
    told = f"TensorRT {version} could not build the engine"
    for word, cure in (
        (
            "implementation",
            f"{room}; or try another --precision" + (", or leave out --dla" * (options.dla is not None)),
        ),
        ("memory", "try --workspace with less than the GPU has free, a smaller --batch, or end what else runs on it"),
    ):
        if found := [text for text in logger().errors if word in text.lower()]:
            return f"{told}: {found[-1][:300]}; {cure}"
    return f"{told}: {said()}; try another --precision or --optimization"


def _bits(flags: Any, names: tuple[str, ...]) -> int:
    return sum(1 << int(getattr(flags, name)) for name in names)


def main() -> int:
    lock, out = threading.Lock(), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what TensorRT prints is no news

    def tell(news: dict[str, Any]) -> None:
        try:
            with lock:
                out.write(json.dumps(news) + "\n")
                out.flush()
        except OSError:
            stop.set()

    stop = threading.Event()
    told = json.loads(sys.stdin.readline())
    paths = {name: Path(told.pop(name)) for name in ("graph", "into", "timing")}
    threading.Thread(target=_watch, args=(stop,), daemon=True).start()
    try:
        order = Order(**told | paths | {"options": read_options(told["options"])})
        tell({"done": check(order, tell) if order.check else build(order, tell, stop)})
    except (EdgezooError, OSError) as error:
        tell({"error": " ".join(str(error).split()), "kind": type(error).__name__})
        return 1
    return 0


def _watch(stop: threading.Event) -> None:
    """Stop the build when stdin closes: politely, then at once, for native code hears nothing else."""
    while os.read(0, 1):  # not through sys.stdin, whose lock this thread would still hold when Python ends
        pass
    stop.set()
    time.sleep(_PATIENCE_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
