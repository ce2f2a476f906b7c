"""The fakes in place of NVIDIA's modules, for tests in this very process."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgezoo import optional
from edgezoo.backends.tensorrt.logger import logger

FAKES = Path(__file__).parent / "fakes"
VERSIONS = ("8.6.2", "10.3.0", "10.13.2.6", "11.4.0.106")
"""Of TensorRT: one of each way in which they differ."""
NEWEST = VERSIONS[-1]
_THEIRS = ("tensorrt", "cuda")


@contextmanager
def faked(patch: pytest.MonkeyPatch, **environment: str) -> Iterator[None]:
    """TensorRT and CUDA as the fakes have them; all that was imported of them is forgotten before and after."""
    for name, value in environment.items():
        patch.setenv(name, value)
    patch.syspath_prepend(str(FAKES))
    patch.setenv("PYTHONPATH", str(FAKES))  # for the builder's process
    _forget()
    gc.freeze()  # what is on the device is counted after collecting, which else goes through all that tests ever made
    try:
        yield
    finally:
        gc.unfreeze()
        _forget()


def _forget() -> None:
    for modules in (sys.modules, optional._loaded):
        for name in [name for name in modules if name.partition(".")[0] in _THEIRS]:
            del modules[name]
    logger.cache_clear()
