"""The builder: it checks what TensorRT would check, takes the time it is told to, and writes its own engine bytes."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from typing import Any

import onnx
from cuda._device import gpus
from cuda._errors import Failure

from tensorrt._config import IBuilderConfig, IOptimizationProfile
from tensorrt._engine import pack
from tensorrt._layers import layers_of
from tensorrt._logger import IHostMemory, ILogger, call_back, environment, inside, note, tell
from tensorrt._names import ENUMS, NUMBERS, VERSION, Real, Stored, real
from tensorrt._network import INetworkDefinition


@real
class Builder(Real):
    logger = property(lambda self: self._logger)
    max_threads = Stored(1, int)
    platform_has_fast_fp16 = property(lambda self: True)
    platform_has_fast_int8 = property(lambda self: True)
    platform_has_tf32 = property(lambda self: gpus()[0][1] >= 8)
    num_DLA_cores = property(lambda self: 2 if "Orin" in gpus()[0][0] else 0)  # noqa: N815
    max_DLA_batch_size = property(lambda self: 4096)  # noqa: N815

    def __init__(self, logger: ILogger) -> None:
        """Raises TypeError without a GPU: so NVIDIA's module answers when the library gives it nothing."""
        super().__init__()
        self._logger = logger
        try:
            gpus()
        except Failure as error:
            tell(logger, "ERROR", f"CUDA initialization failure with error: {int(error.code)}")
            raise TypeError("pybind11::init(): factory function returned nullptr") from None

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(self, int(flags))

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self._logger)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def is_network_supported(self, network: INetworkDefinition, config: IBuilderConfig) -> bool:
        return not _refusal(network, config)

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        with inside():
            return _Build(self._logger, network, config).run()


_MOST = 12  # nodes that a build tells of


@dataclass(frozen=True)
class _Phase:
    name: str
    parts: list[int | _Phase]
    """In order: phases of their own, one step each, or a number of steps that only take time."""
    times: int = 1

    def steps(self) -> list[_Phase | None]:
        """None for a step that only takes time."""
        once: list[_Phase | None] = []
        for part in self.parts:
            once += [None] * part if isinstance(part, int) else [part]
        return once * self.times

    def leaves(self) -> int:
        return sum(1 if below is None else below.leaves() for below in self.steps())


class _Build:
    def __init__(self, logger: ILogger, network: INetworkDefinition, config: IBuilderConfig) -> None:
        self.logger, self.network, self.config = logger, network, config
        self.pause, self.left_until_failure = 0.0, 0
        self.header_layers: list[dict[str, Any]] = []
        self.monitor = config.progress_monitor if NUMBERS[0] >= 10 else None

    def run(self) -> IHostMemory | None:
        if refusal := _refusal(self.network, self.config):
            return self.fail(refusal)
        graph = self.network._model.SerializeToString()
        name, major, minor = gpus()[0]
        digest = hashlib.sha256(graph).hexdigest()
        cache = self.config._cache
        known = cache is not None and digest in cache._timed
        told = {"pid": os.getpid(), "version": VERSION, "gpu": name, "graph": digest, "cached": known}
        note(environment("LOG"), {**told, "flags": self.flags(), "profiles": self.ranges()})
        self.header_layers = layers_of(self.network._model)
        seconds = float(environment("SECONDS", "0")) * (0.2 if known else 1.0)
        outcome = self.pass_time(seconds)
        if environment("LOG"):
            note(environment("LOG") + ".ends", {**told, "outcome": outcome})
        if outcome == "cancelled":
            tell(self.logger, "WARNING", "The build was stopped by the progress monitor.")
            return None
        if outcome != "built":
            return self.fail(outcome)
        if cache is not None and not known:
            cache._timed.append(digest)
        return IHostMemory(pack(self.header(name, f"{major}.{minor}"), graph))

    def header(self, gpu: str, capability: str) -> dict[str, Any]:
        config, flags = self.config, self.flags()
        return {
            "version": VERSION,
            "gpu": gpu,
            "capability": capability,
            "profiles": self.ranges(),
            "verbosity": config.profiling_verbosity.name,
            "hardware": config.hardware_compatibility_level.name,
            "flags": flags,
            "lean": "VERSION_COMPATIBLE" in flags and "EXCLUDE_LEAN_RUNTIME" not in flags,
            "layers": self.header_layers,
            "shared": NUMBERS >= (10,) or "PROFILE_SHARING_0806" in {one.name for one in config._previews},
        }

    def flags(self) -> list[str]:
        return [flag.name for flag in ENUMS["BuilderFlag"] if self.config.get_flag(flag)]

    def ranges(self) -> list[dict[str, Any]]:
        return [dict(profile._ranges) for profile in self.config._profiles]

    def pass_time(self, seconds: float) -> str:
        """Take the time, and tell of it. Answers "built", "cancelled" or the error that was asked for."""
        nodes = self.header_layers[:_MOST]
        # The phases and how they nest are those that NVIDIA's sampleProgressMonitor prints. Measuring takes the time.
        finding = [
            _Phase(f"Finding fastest tactic for {layer['Name']}", [_Phase("Measuring tactic time", [4])], 3)
            for layer in nodes
        ]
        timing = _Phase("Computing profile costs", [_Phase("Timing graph nodes", finding)])
        whole = _Phase("Building engine", [1, _Phase("Building engine from subgraph", [timing]), 1])
        self.pause = seconds / whole.leaves()
        self.left_until_failure = whole.leaves() // 2
        return self.enter(whole, None)

    def enter(self, phase: _Phase, parent: str | None) -> str:
        steps = phase.steps()
        if self.monitor is not None:
            call_back(self.monitor.phase_start, phase.name, parent, len(steps))
        outcome = "built"
        for place, below in enumerate(steps):
            outcome = self.enter(below, phase.name) if below is not None else self.wait()
            told = outcome == "built" and self.monitor is not None
            if told and not call_back(self.monitor.step_complete, phase.name, place):
                outcome = "cancelled"
            if outcome != "built":
                break
        if self.monitor is not None:
            call_back(self.monitor.phase_finish, phase.name)
        return outcome

    def wait(self) -> str:
        time.sleep(self.pause)
        self.left_until_failure -= 1
        return _asked_for(self.network._model) if self.left_until_failure == 0 else "built"

    def fail(self, why: str) -> None:
        tell(self.logger, "ERROR", f"IBuilder::buildSerializedNetwork: {why}")


def _asked_for(model: onnx.ModelProto) -> str:
    """The failure that the environment asks for, in TensorRT's form; "built" where it asks for none."""
    asked = environment("FAIL")
    if asked == "crash":
        os.abort()
    names = [node.name or node.op_type for node in model.graph.node]
    foreign = f"{{ForeignNode[{names[0]}...{names[-1]}]}}"
    return {
        "build": f"Error Code 10: Internal Error (Could not find any implementation for node {foreign}.)",
        "memory": "Error Code 2: OutOfMemory (Requested size was 17179869184 bytes.)",
    }.get(asked, "built")


def _refusal(network: INetworkDefinition, config: IBuilderConfig) -> str:
    """Why this version would not build it; empty where it would."""
    if network._model is None or not network._outputs:
        return "Error Code 4: API Usage Error (network has no outputs)"
    on = {flag.name for flag in ENUMS["BuilderFlag"] if config.get_flag(flag)}
    strong = ENUMS["NetworkDefinitionCreationFlag"].__members__.get("STRONGLY_TYPED")
    typed = NUMBERS[0] >= 11 or (strong is not None and network.get_flag(strong))
    asked = on & {"FP16", "INT8", "BF16", "FP8", "INT4", "OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS"}
    if typed and asked:
        return f"Error Code 4: API Usage Error ({sorted(asked)} cannot be set for a strongly typed network)"
    pinned = {layer.precision.name for layer in network._layers if NUMBERS[0] < 11 and layer.precision_is_set}
    pinned = {{"HALF": "FP16", "INT8": "INT8"}.get(name, "TF32") for name in pinned} - {"TF32"}
    missing = set() if typed else (_needed(network._model) | pinned) - on
    for name in sorted(missing):
        return (
            f"Error Code 4: API Usage Error ({name.capitalize()} precision has been set for a layer or layer output, "
            f"but {name.lower()} is not configured in the builder)"
        )
    for tensor in network._inputs:
        if -1 in tensor._shape and not any(tensor.name in profile._ranges for profile in config._profiles):
            return (
                "Error Code 4: API Usage Error (Network has dynamic or shape inputs, "
                "but no optimization profile has been defined.)"
            )
        for profile in config._profiles:
            for shape in profile._ranges.get(tensor.name, ()):
                if len(shape) != len(tensor._shape) or any(a not in (-1, b) for a, b in zip(tensor._shape, shape)):
                    return f"Error Code 4: Internal Error ({tensor.name}: profile {shape} against {tensor._shape})"
    return _refused_by_dla(network, config, on)


def _refused_by_dla(network: INetworkDefinition, config: IBuilderConfig, on: set[str]) -> str:
    if config.default_device_type is not ENUMS["DeviceType"].DLA:
        return ""
    if "Orin" not in gpus()[0][0]:
        return "Error Code 4: API Usage Error (DLA is not available on this device)"
    lost = [layer.name for layer in network._layers if not config.can_run_on_DLA(layer)]
    if lost and "GPU_FALLBACK" not in on:
        return f"Error Code 4: Internal Error (DLA validation failed: layer {lost[0]}, and GPU fallback is not enabled)"
    return ""


def _needed(model: onnx.ModelProto) -> set[str]:
    """The builder flags without which a weakly typed build ignores, or refuses, the types of this graph."""
    kinds = {node.op_type for node in model.graph.node}
    half = any(weight.data_type == onnx.TensorProto.FLOAT16 for weight in model.graph.initializer) or any(
        node.op_type == "Cast" and any(one.name == "to" and one.i == onnx.TensorProto.FLOAT16 for one in node.attribute)
        for node in model.graph.node
    )
    quantised = bool({"QuantizeLinear", "DequantizeLinear"} & kinds)
    return {name for name, needed in (("INT8", quantised), ("FP16", half)) if needed}
