"""All that the fake has of `cuda.bindings.runtime`."""

from cuda._errors import cudaError_t
from cuda._kinds import *  # noqa: F403
from cuda._memory import *  # noqa: F403
from cuda._streams import *  # noqa: F403

__all__ = ["cudaError_t", *(name for name in dir() if name.startswith("cuda") and name != "cudaError_t")]
