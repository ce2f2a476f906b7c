"""Frames as JPEGs: made when a page asks, once for all pages."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from edgezoo.frame import Image
from edgezoo.optional import require
from edgezoo.web.figures import SOURCES
from edgezoo.web.hub import Shot

WIDTHS = (320, 480, 640, 960, 1280, 1920)
"""Pixels: a page asks for what it has room for, and gets the next of these."""
_QUALITY = 80


class Pictures:
    """Of every source the newest picture in each of the widths that are asked for. In the server's thread."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._made: dict[tuple[int, int], tuple[int, asyncio.Future[bytes]]] = {}

    async def of(self, source: int, shot: Shot, width: int) -> bytes:
        """A JPEG of the next of WIDTHS, or of the frame's own width where that is less."""
        wide = next((known for known in WIDTHS if known >= width), WIDTHS[-1])
        key = (source, wide)
        number, made = self._made.get(key, (0, None))
        if made is None or number != shot.number:
            made = asyncio.get_running_loop().run_in_executor(self._executor, encode, shot.frame.image, wide)
            self._made[key] = (shot.number, made)
            if len(self._made) > len(WIDTHS) * SOURCES:  # the first is of a source that is no more
                del self._made[next(iter(self._made))]
        return await asyncio.shield(made)  # one page that goes away does not take it from the others


def encode(image: Image, width: int) -> bytes:
    cv2 = require("cv2")
    if image.shape[1] > width:
        height = max(1, round(image.shape[0] * width / image.shape[1]))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])
