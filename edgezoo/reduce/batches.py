"""Whether an artifact answers several images at once as it does each alone."""

from __future__ import annotations

from typing import Any

from edgezoo.backends import Arrays
from edgezoo.engine import Engine
from edgezoo.errors import ConvertError
from edgezoo.reduce.search import harm

SAME = 1e-3
"""Squared error of answers, as a share of them, that is no difference."""
_FIX = "convert the model with a fixed --batch"


def check_batches(engine: Engine, placed: Any, alone: Arrays, fp32: Arrays) -> None:
    """ConvertError where a graph that claims to take several images at once answers otherwise than one by one.

    As far apart as the artifact is from fp32, or as `SAME`, is the same: kernels round in another order then.
    """
    count = min(2, len(placed))
    both = engine.infer(placed[:count])
    for name, value in both.items():
        if len(value) != count:
            raise ConvertError(f"{name}: expected {count} answers from a batch, got {len(value)}; {_FIX}")
    first = {name: value[:count] for name, value in alone.items()}
    apart, own = harm(first, both), harm({name: value[:count] for name, value in fp32.items()}, first)
    if not apart <= max(own, SAME):
        raise ConvertError(
            f"expected of {count} images at once what each gets alone, got an error of {apart:.2g} of that; {_FIX}"
        )
