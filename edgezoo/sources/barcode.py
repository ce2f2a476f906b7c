"""A frame's number and time, burnt into its pixels: true ages, measured through any encoder.

Two rows of 64 black or white cells along the bottom edge hold 128 bits: index (32), time (64) and
their CRC-32. Cells are fractions of the image, so that resizing in either direction, JPEG and
H.264 leave them readable; cropping and letterboxing do not.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from edgezoo.errors import RequestError, ShapeError
from edgezoo.frame import Image, check_image

MIN_SIZE_WH = (320, 160)
"""Smallest image to burn into: cells of 5x5 px. Reading back works down to half of it."""

_ROWS, _COLUMNS = 2, 64
_ROWS_IN_HEIGHT = 32  # each row takes 1/32 of the height
_CONTRAST = 64  # between the darkest and the lightest cell; less is no code


def height_px(image_height: int) -> int:
    """How many rows of pixels at the bottom of an image of that height the code takes."""
    return image_height - _edges(image_height)[0]


def burn(image: Image, *, index: int, time_ns: int) -> None:
    """Write `index` and `time_ns` over the bottom edge of the BGR `image`, in place.

    Raises ShapeError for an image smaller than MIN_SIZE_WH, RequestError for numbers that do not fit.
    """
    height, width = check_image(image).shape[:2]
    if width < MIN_SIZE_WH[0] or height < MIN_SIZE_WH[1]:
        raise ShapeError(
            f"expected an image of at least {MIN_SIZE_WH[0]}x{MIN_SIZE_WH[1]} px for the code, got {width}x{height}"
        )
    try:
        message = struct.pack(">IQ", index, time_ns)
    except struct.error:
        raise RequestError(
            f"expected an index of 32 and a time of 64 bits without sign, got {index} and {time_ns}"
        ) from None
    message += struct.pack(">I", zlib.crc32(message))
    cells = np.unpackbits(np.frombuffer(message, np.uint8)).reshape(_ROWS, _COLUMNS) * np.uint8(255)
    across = np.repeat(cells[:, np.arange(width) * _COLUMNS // width], 3, axis=1).reshape(_ROWS, width, 3)
    edges = _edges(height)
    for row in range(_ROWS):
        image[edges[row] : edges[row + 1]] = across[row]


def read(image: Image) -> tuple[int, int] | None:
    """The index and the time burnt into the BGR `image`, or None where no intact code is seen."""
    height, width = check_image(image).shape[:2]
    if width < MIN_SIZE_WH[0] // 2 or height < MIN_SIZE_WH[1] // 2:
        return None
    spots = np.array([0.3, 0.5, 0.7])  # of a cell: its border may have bled into its neighbour
    first = _ROWS_IN_HEIGHT - _ROWS
    y = (np.arange(_ROWS)[:, np.newaxis] + first + spots).ravel() * (height / _ROWS_IN_HEIGHT)
    x = (np.arange(_COLUMNS)[:, np.newaxis] + spots).ravel() * (width / _COLUMNS)
    seen = image[np.ix_(y.astype(np.intp), x.astype(np.intp))]
    cells = seen.reshape(_ROWS, len(spots), _COLUMNS, len(spots), 3).mean(axis=(1, 3, 4))
    low, high = float(cells.min()), float(cells.max())
    if high - low < _CONTRAST:
        return None
    message = np.packbits(cells > (low + high) / 2).tobytes()
    index, time_ns, crc = struct.unpack(">IQI", message)
    return (index, time_ns) if zlib.crc32(message[:12]) == crc else None


def _edges(height: int) -> list[int]:
    """The y of the rows' upper edges, and of the last one's lower edge."""
    return [row * height // _ROWS_IN_HEIGHT for row in range(_ROWS_IN_HEIGHT - _ROWS, _ROWS_IN_HEIGHT + 1)]
