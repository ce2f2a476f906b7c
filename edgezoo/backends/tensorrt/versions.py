"""All that differs between the versions of TensorRT that edgezoo speaks, 8.6 to 11, in one function.

A graph says in which precision it computes. 11 reads nothing else; from 9.1 on that is a flag, STRONGLY_TYPED; 8.6
picks whatever is fastest of the precisions that are switched on, unless each layer is told its own.
https://docs.nvidia.com/deeplearning/tensorrt/latest/api/migration-guide.html
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from edgezoo.backends.tensorrt.options import BuildOptions
from edgezoo.errors import BackendError, RequestError

OLDEST = (8, 6)
_FLAG_OF = {"fp16": "FP16", "int8": "INT8"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """What one version is told; names as its Python module has them."""

    network_flags: tuple[str, ...]
    """Of NetworkDefinitionCreationFlag."""
    builder_flags: tuple[str, ...]
    """Of BuilderFlag."""
    parser_flags: tuple[str, ...]
    """Of OnnxParserFlag."""
    hardware: str
    """Of HardwareCompatibilityLevel."""
    preview_features: tuple[str, ...]
    """Of PreviewFeature."""
    pins: bool
    """Each layer is told its precision."""
    tells: bool
    """Builds report their progress, and can be stopped."""


def version_of(told: str) -> tuple[int, int]:
    """Major and minor. Raises BackendError for what edgezoo does not speak."""
    found = re.match(r"(\d+)\.(\d+)", told)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    if version < OLDEST:
        raise BackendError(
            f"expected TensorRT {OLDEST[0]}.{OLDEST[1]} or newer, got {told}; `edgezoo doctor` tells more"
        )
    return version


def dialect(told: str, precisions: Collection[str], options: BuildOptions) -> Dialect:
    """For the version `told` and a graph that computes in `precisions` (`fp32`, `fp16`, `int8`).

    Raises BackendError, and RequestError for an option that this version does not have.
    """
    version = version_of(told)
    typed = version >= (9, 1)
    if options.hardware_compatible == "same" and version < (10, 9):
        raise RequestError(f"--hardware-compatible=same needs TensorRT 10.9 or newer, here is {told}; try =ampere")
    network = [name for name, since, until in _NETWORK if since <= version < until]
    builder = [] if typed else [_FLAG_OF[name] for name in sorted(precisions) if name in _FLAG_OF]
    # Where there are Q/DQ pairs, they say it; a convolution that was told to be float would no longer fuse with them.
    pins = not typed and "fp16" in precisions and "int8" not in precisions
    if pins:
        builder.append("OBEY_PRECISION_CONSTRAINTS")
    if options.version_compatible:
        builder.append("VERSION_COMPATIBLE")
    if options.dla is not None:
        builder.append("GPU_FALLBACK")
    return Dialect(
        network_flags=tuple(network),
        builder_flags=tuple(builder),
        # A plugin's normalisation would not be found by another version; from 10 on there is none.
        parser_flags=("NATIVE_INSTANCENORM",) if options.version_compatible and version < (10, 0) else (),
        hardware=_HARDWARE[options.hardware_compatible],
        # Several contexts of one engine may use its one range of shapes; later versions always let them.
        preview_features=("PROFILE_SHARING_0806",) if version < (10, 0) else (),
        pins=pins,
        tells=version >= (10, 0),
    )


_NETWORK = (  # since, and gone since
    ("EXPLICIT_BATCH", (8, 6), (10, 0)),
    ("STRONGLY_TYPED", (9, 1), (11, 0)),
)
_HARDWARE = {"": "NONE", "ampere": "AMPERE_PLUS", "same": "SAME_COMPUTE_CAPABILITY"}
