"""Where cuda-python had the runtime before 12.6, and, with a warning, up to 12.9; 13 has it no more."""

import os

if os.environ.get("FAKE_CUDA_PYTHON") != "old":
    raise ModuleNotFoundError("No module named 'cuda.cudart'", name="cuda.cudart")

from cuda._runtime import *  # noqa: F403
