"""What schemathesis sends where the server's description says an image: real ones, of the type it says."""

from __future__ import annotations

import cv2
import numpy as np
import schemathesis
from hypothesis import strategies

_SIZES = strategies.tuples(strategies.integers(1, 40), strategies.integers(1, 40), strategies.integers(0, 255))


def _encoded(kind: str) -> strategies.SearchStrategy[bytes]:
    return _SIZES.map(lambda size: bytes(cv2.imencode(kind, np.full((*size[:2], 3), size[2], np.uint8))[1]))


for media_type, kind in {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}.items():
    schemathesis.openapi.media_type(media_type, _encoded(kind))
