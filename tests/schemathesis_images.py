"""What schemathesis sends where the server's description says an image, or a class: real ones."""

from __future__ import annotations

import cv2
import numpy as np
import schemathesis
from hypothesis import strategies

_SIZES = strategies.tuples(strategies.integers(1, 40), strategies.integers(1, 40), strategies.integers(0, 255))


def _encoded(kind: str) -> strategies.SearchStrategy[bytes]:
    return _SIZES.map(lambda size: bytes(cv2.imencode(kind, np.full((*size[:2], 3), size[2], np.uint8))[1]))


for name in ("jpeg", "png", "webp", "bmp"):
    schemathesis.openapi.media_type(f"image/{name}", _encoded(f".{name}"))
schemathesis.openapi.format("class", strategies.sampled_from(["red", "green", "blue", "0", "2"]))
