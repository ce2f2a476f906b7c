"""An execution context: shapes and addresses are set, runs are put on a stream."""

from __future__ import annotations

import ctypes
import math
import time
from typing import Any

import numpy as np
from cuda._device import DEVICE, Stream, Work
from cuda._errors import cudaError_t

from tensorrt._engine import ICudaEngine
from tensorrt._logger import Dims, IProfiler, call_back, environment, tell
from tensorrt._names import Real, Stored, real


@real
class IExecutionContext(Real):
    name = Stored("", str)
    debug_sync = Stored(False, bool)
    enqueue_emits_profile = Stored(True, bool)
    profiler = Stored(None, IProfiler)
    persistent_cache_limit = Stored(0, int)
    engine = property(lambda self: self._engine)
    active_optimization_profile = property(lambda self: self._profile)
    all_binding_shapes_specified = property(lambda self: not self.infer_shapes())

    def __init__(self, engine: ICudaEngine) -> None:
        super().__init__()
        self._engine, self._profile = engine, 0
        if not engine._header["shared"] and any(other._engine is engine for other in DEVICE.contexts):
            self._no("create", "Profile 0 has been chosen by another IExecutionContext")
            self._profile = -1
        self._shapes = {tensor.name: tensor._shape for tensor in engine._graph.inputs}
        self._addresses: dict[str, int] = {}
        self._ready: Any = None
        self._times: list[tuple[str, float]] = []
        DEVICE.contexts.add(self)

    def _no(self, call: str, why: str) -> bool:
        tell(self._engine._logger, "ERROR", f"IExecutionContext::{call}: Error Code 3: API Usage Error ({why})")
        return False

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        stream = DEVICE.take(stream_handle, Stream)
        if not 0 <= profile_index < self._engine.num_optimization_profiles:
            return self._no("setOptimizationProfileAsync", f"there is no profile {profile_index}")
        if stream.captured is not None:
            stream.spoiled = True
            return self._no("setOptimizationProfileAsync", "the stream is capturing")
        if profile_index != self._profile:
            self._profile, self._ready = profile_index, None
            self._shapes = {tensor.name: tensor._shape for tensor in self._engine._graph.inputs}
        return True

    def set_input_shape(self, name: str, shape: Any) -> bool:
        call, asked = "setInputShape", tuple(int(size) for size in shape)
        if name not in self._shapes:
            return self._no(call, f"{name} is no input")
        if self._profile < 0:
            return self._no(call, "condition: mOptimizationProfile >= 0")
        least, _, most = (tuple(one) for one in self._engine.get_tensor_profile_shape(name, self._profile))
        static = self._engine._ports[name]._shape
        if len(asked) != len(static):
            return self._no(call, f"Set dimensions are {list(asked)}. Expected dimensions are {list(static)}.")
        for place, (low, size, high, fixed) in enumerate(zip(least, asked, most, static)):
            if fixed not in (-1, size):
                return self._no(
                    call,
                    f"Static dimension mismatch while setting input shape for {name}. Set dimensions are "
                    f"{list(asked)}. Expected dimensions are {list(static)}.",
                )
            if not low <= size <= high:
                return self._no(
                    call,
                    f"Set dimension {list(asked)} for tensor {name} does not satisfy any optimization profiles. "
                    f"Valid range for profile {self._profile} at index {place}: {low}..{high}.",
                )
        self._shapes[name] = asked
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        if name in self._shapes:
            return Dims(self._shapes[name])
        if self._engine._port(name) is None:
            return Dims([-1])
        if self.infer_shapes():
            return self._engine.get_tensor_shape(name)
        return Dims(self._outputs()[name])

    def get_tensor_strides(self, name: str) -> Dims:
        shape = tuple(self.get_tensor_shape(name))
        return Dims([math.prod(shape[place + 1 :]) for place in range(len(shape))])

    def get_max_output_size(self, name: str) -> int:
        shapes = tuple(
            (given, tuple(self._engine.get_tensor_profile_shape(given, self._profile)[2])) for given in self._shapes
        )
        dtype = self._engine.get_tensor_dtype(name)
        return math.prod(self._engine._graph.shapes(shapes)[name]) * size_of(dtype)

    def infer_shapes(self) -> list[str]:
        return [name for name, shape in self._shapes.items() if -1 in shape]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if self._engine._port(name) is None:
            return False
        self._addresses[name] = int(memory)
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Puts the run on the stream: nothing is computed before somebody waits for the stream."""
        stream, call = DEVICE.take(stream_handle, Stream), "enqueueV3"
        if missing := self.infer_shapes():
            return self._no(call, f"Parameter check failed: the shape of {missing[0]} is not specified")
        for name in self._engine._ports:
            if not self._addresses.get(name):
                return self._no(call, f"Parameter check failed: the address of {name} is not set")
        state = (self._profile, tuple(self._shapes.items()))
        emits = self.profiler is not None and self.enqueue_emits_profile
        if stream.captured is not None and (self._ready != state or emits):
            # The manual: run once after shapes changed, before a run may be captured.
            stream.spoiled = True
            return self._no(call, "operation not permitted when stream is capturing")
        self._ready = state
        stream.put(self._work())
        if emits:
            DEVICE.drain([stream])
            self.report_to_profiler()
        return True

    def report_to_profiler(self) -> bool:
        if self.profiler is None or not self._times:
            return False
        for name, ms in self._times:
            call_back(self.profiler.report_layer_time, name, ms)
        self._times = []
        return True

    def _outputs(self) -> dict[str, tuple[int, ...]]:
        return self._engine._graph.shapes(tuple(self._shapes.items()))

    def _work(self) -> Work:
        """The run, with today's shapes and addresses: a graph replays it with these, whatever is set later."""
        engine, timed = self._engine, self.profiler is not None
        shapes = {**self._shapes, **self._outputs()}
        addresses = dict(self._addresses)
        types = {name: nptype(port.dtype) for name, port in engine._ports.items()}
        sizes = {name: math.prod(shapes[name]) * np.dtype(types[name]).itemsize for name in engine._ports}

        def run() -> None:
            for name, size in sizes.items():
                DEVICE.view(addresses[name], size, "device", cudaError_t.cudaErrorIllegalAddress)
            feeds = {
                tensor.name: _array(addresses[tensor.name], shapes[tensor.name], types[tensor.name]).copy()
                for tensor in engine._graph.inputs
            }
            started = time.perf_counter()
            time.sleep(_slowness(engine._header["layers"]))
            for name, array in engine._graph.run(feeds).items():
                assert array.shape == shapes[name], f"{name}: {array.shape} came, {shapes[name]} was told"
                ctypes.memmove(addresses[name], array.ctypes.data, array.nbytes)
            if timed:
                self._times = _spread(engine._header["layers"], (time.perf_counter() - started) * 1000)

        return Work("run", run)


def _array(address: int, shape: tuple[int, ...], dtype: Any) -> Any:
    count = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * count).from_address(address), dtype).reshape(shape)


def _slowness(layers: list[dict[str, Any]]) -> float:
    """`FAKE_TENSORRT_SLOW=int8:5` makes a run of what computes in int8 last 5 ms longer."""
    kind, _, ms = environment("SLOW").partition(":")
    computes = {layer["Weights"]["Type"].lower() for layer in layers if "Weights" in layer}
    return float(ms) / 1000 if kind in computes else 0.0


def _spread(layers: list[dict[str, Any]], ms: float) -> list[tuple[str, float]]:
    whole = sum(layer["work"] for layer in layers) or 1
    return [(layer["Name"], ms * layer["work"] / whole) for layer in layers]


_NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "INT8": np.int8, "INT32": np.int32, "BOOL": np.bool_}
_NUMPY |= {"UINT8": np.uint8, "INT64": np.int64}


def nptype(trt_type: Any) -> Any:
    """Raises TypeError for a type that NumPy does not have."""
    if trt_type.name not in _NUMPY:
        raise TypeError(f"Could not resolve TensorRT datatype to an equivalent numpy datatype: {trt_type}")
    return _NUMPY[trt_type.name]


def size_of(dtype: Any) -> int:
    return int(np.dtype(nptype(dtype)).itemsize)
