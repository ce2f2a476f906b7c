"""What a build is told: the configuration, shape ranges, and the timing cache."""

from __future__ import annotations

import json
from typing import Any

from cuda._device import gpus

from tensorrt._logger import Dims, IHostMemory, IProgressMonitor, tell
from tensorrt._names import ENUMS, VERSION, Real, Stored, real

_CACHE = b"FAKE TIMINGS\n"


@real
class IOptimizationProfile(Real):
    def __init__(self) -> None:
        super().__init__()
        self._ranges: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        ranges = tuple(tuple(int(size) for size in shape) for shape in (min, opt, max))
        if len({len(shape) for shape in ranges}) != 1 or not all(a <= b <= c for a, b, c in zip(*ranges)):
            raise ValueError(f"Shapes for {input} are inconsistent: {ranges}")
        self._ranges[input] = ranges

    def get_shape(self, input: str) -> list[Dims]:
        return [Dims(shape) for shape in self._ranges.get(input, ())]

    def __bool__(self) -> bool:
        return bool(self._ranges)


@real
class ITimingCache(Real):
    """Which graphs were timed, for which version and GPU."""

    def __init__(self, timed: list[str], whose: str) -> None:
        super().__init__()
        self._timed, self._whose = timed, whose

    def serialize(self) -> IHostMemory:
        return IHostMemory(_CACHE + json.dumps({"whose": self._whose, "timed": self._timed}).encode())

    def combine(self, input_cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if input_cache._whose != self._whose and not ignore_mismatch:
            return False
        self._timed += [one for one in input_cache._timed if one not in self._timed]
        return True

    def reset(self) -> bool:
        self._timed.clear()
        return True


def whose() -> str:
    return f"{VERSION} on {gpus()[0]}"


def _flags(name: str) -> property:
    return property(lambda self: self.__dict__[name], lambda self, value: self.__dict__.update({name: int(value)}))


@real
class IBuilderConfig(Real):
    builder_optimization_level = Stored(3, int)
    avg_timing_iterations = Stored(1, int)
    max_aux_streams = Stored(-1, int)
    hardware_compatibility_level = Stored(ENUMS["HardwareCompatibilityLevel"].NONE, ENUMS["HardwareCompatibilityLevel"])
    profiling_verbosity = Stored(ENUMS["ProfilingVerbosity"].LAYER_NAMES_ONLY, ENUMS["ProfilingVerbosity"])
    engine_capability = Stored(ENUMS["EngineCapability"].STANDARD, ENUMS["EngineCapability"])
    default_device_type = Stored(ENUMS["DeviceType"].GPU, ENUMS["DeviceType"])
    DLA_core = Stored(-1, int)
    progress_monitor = Stored(None, IProgressMonitor)
    flags = _flags("_bits")
    quantization_flags = _flags("_quantization")
    num_optimization_profiles = property(lambda self: len(self._profiles))

    def __init__(self, logger: Any) -> None:
        super().__init__()
        self._logger, self._quantization = logger, 0
        self._bits = 1 << int(ENUMS["BuilderFlag"].TF32)  # on unless cleared, in every version
        self._profiles: list[IOptimizationProfile] = []
        self._limits: dict[Any, int] = {}
        self._devices: dict[str, Any] = {}
        self._cache: ITimingCache | None = None
        self._previews: set[Any] = set()

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        if not isinstance(feature, ENUMS["PreviewFeature"]):
            raise TypeError(f"incompatible function arguments: expected a PreviewFeature, got {feature!r}")
        (self._previews.add if enable else self._previews.discard)(feature)

    def get_preview_feature(self, feature: Any) -> bool:
        return feature in self._previews

    def set_flag(self, flag: Any) -> None:
        self._bits |= 1 << _flag(flag)

    def clear_flag(self, flag: Any) -> None:
        self._bits &= ~(1 << _flag(flag))

    def get_flag(self, flag: Any) -> bool:
        return bool(self._bits >> _flag(flag) & 1)

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        if not isinstance(pool, ENUMS["MemoryPoolType"]) or pool_size < 0:
            raise TypeError(f"set_memory_pool_limit(): incompatible function arguments: {pool!r}, {pool_size!r}")
        self._limits[pool] = pool_size

    def get_memory_pool_limit(self, pool: Any) -> int:
        return self._limits.get(pool, 8 * 2**30)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: Any) -> ITimingCache | None:
        """Empty bytes make an empty cache; bytes that are none make none."""
        given = bytes(serialized_timing_cache)
        if not given:
            return ITimingCache([], whose())
        try:
            if not given.startswith(_CACHE):
                raise ValueError("no header")
            told = json.loads(given[len(_CACHE) :])
            return ITimingCache(list(told["timed"]), told["whose"])
        except (ValueError, KeyError):
            tell(self._logger, "ERROR", "createTimingCache: the serialized timing cache cannot be read")
            return None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache._whose != whose() and not ignore_mismatch:
            tell(self._logger, "ERROR", f"setTimingCache: the cache is of {cache._whose}, this is {whose()}")
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache

    def can_run_on_DLA(self, layer: Any) -> bool:  # noqa: N802
        return "Orin" in gpus()[0][0] and layer._node.op_type in ("Conv", "Relu", "MaxPool", "Add", "Concat", "Sigmoid")

    def set_device_type(self, layer: Any, device_type: Any) -> None:
        self._devices[layer.name] = device_type

    def get_device_type(self, layer: Any) -> Any:
        return self._devices.get(layer.name, self.default_device_type)

    def is_device_type_set(self, layer: Any) -> bool:
        return layer.name in self._devices

    def reset_device_type(self, layer: Any) -> None:
        self._devices.pop(layer.name, None)


def _flag(flag: Any) -> int:
    if not isinstance(flag, ENUMS["BuilderFlag"]):
        raise TypeError(f"incompatible function arguments: expected a BuilderFlag, got {flag!r}")
    return int(flag)
