"""I/O binding (https://onnxruntime.ai/docs/performance/tune-performance/iobinding.html): memory on the device that is
made once for a batch size and used by all its runs.

Host memory stays pageable: ONNX Runtime's Python API offers no pinned memory for its CUDA provider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgezoo.backends import Port

_MOST = 8  # batch sizes with memory of their own

Shapes = tuple[tuple[int, ...], ...]


class Bound:
    """Memory for all inputs and outputs of one batch size, bound to a session."""

    def __init__(self, session: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any], options: Any) -> None:
        """`options`: the RunOptions of every run."""
        self._session, self._inputs, self._options = session, inputs, options
        self._binding = session.io_binding()
        for name, value in inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        self.upload(feeds)
        self.execute()
        return self.download()

    def upload(self, feeds: Mapping[str, npt.NDArray[Any]]) -> None:
        """Copy to the device; done when it returns. The feeds must fit: it looks at their number of values alone."""
        for name, value in self._inputs.items():
            value.update_inplace(np.ascontiguousarray(feeds[name]))

    def execute(self) -> None:
        """Run on what was uploaded; done when it returns."""
        self._session.run_with_iobinding(self._binding, self._options)

    def download(self) -> list[npt.NDArray[Any]]:
        """The answers, as arrays of their own."""
        answers: list[npt.NDArray[Any]] = self._binding.copy_outputs_to_cpu()
        return answers


class Buffers:
    """The `Bound` of each of the first batch sizes that a session runs."""

    def __init__(
        self, runtime: ModuleType, session: Any, inputs: Sequence[Port], outputs: Sequence[Port], *, gpu: int | None
    ) -> None:
        """`inputs`, `outputs`: the session's. `gpu`: where the memory is; None: on the host."""
        self._runtime, self._session = runtime, session
        self._inputs, self._outputs = inputs, outputs
        self._where = ("cpu", 0) if gpu is None else ("cuda", gpu)
        self._sizes = {node.name: list(node.shape) for node in (*session.get_inputs(), *session.get_outputs())}
        self._typed = all(_of_numpy(port.dtype) for port in (*inputs, *outputs))
        self._kept: dict[Shapes, Bound] = {}

    def of(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Bound | None:
        """None for what the session itself must look at: feeds that do not fit, one size too many, unknown shapes."""
        shapes = self._shapes(feeds)
        if shapes is None or shapes in self._kept:
            return self._kept[shapes] if shapes else None
        answers = self._answers(shapes)
        if answers is None or len(self._kept) >= _MOST:
            return None
        # From 1 on; 0 and -1 mean something else to it. Without CUDA graphs it means nothing.
        options = run_options(self._runtime, graph=1 + len(self._kept))
        self._kept[shapes] = Bound(
            self._session, self._room(self._inputs, shapes), self._room(self._outputs, answers), options
        )
        return self._kept[shapes]

    def clear(self) -> None:
        self._kept.clear()

    def _shapes(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Shapes | None:
        if len(feeds) != len(self._inputs) or not self._typed:
            return None
        for port in self._inputs:
            array = feeds.get(port.name)
            if not isinstance(array, np.ndarray) or array.dtype != port.dtype or len(array.shape) != len(port.shape):
                return None
            if not all(size >= 1 and wanted in (None, size) for size, wanted in zip(array.shape, port.shape)):
                return None
        return tuple(feeds[port.name].shape for port in self._inputs)

    def _answers(self, shapes: Shapes) -> Shapes | None:
        """The outputs' shapes where the inputs' say them: by the names that the graph gives its open sizes."""
        named: dict[str, int] = {}
        for port, shape in zip(self._inputs, shapes):
            for name, size in zip(self._sizes[port.name], shape):
                if isinstance(name, str) and named.setdefault(name, size) != size:
                    return None
        found = [tuple(named.get(size, size) for size in self._sizes[port.name]) for port in self._outputs]
        return tuple(found) if all(isinstance(size, int) and size >= 1 for shape in found for size in shape) else None

    def _room(self, ports: Sequence[Port], shapes: Shapes) -> dict[str, Any]:
        make = self._runtime.OrtValue.ortvalue_from_shape_and_type
        return {port.name: make(list(shape), np.dtype(port.dtype), *self._where) for port, shape in zip(ports, shapes)}


def run_options(runtime: ModuleType, *, graph: int) -> Any:
    """Of runs that capture or replay the CUDA graph of that number; -1: none."""
    options = runtime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options


def _of_numpy(dtype: str) -> bool:
    try:
        return np.dtype(dtype).kind in "biuf"
    except TypeError:
        return False
