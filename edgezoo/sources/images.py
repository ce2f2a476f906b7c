"""Photos: one, a folder of them, or a pattern such as '*.jpg'."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Iterator

import numpy as np

from edgezoo.address import Address
from edgezoo.errors import SourceError
from edgezoo.frame import Frame, Image
from edgezoo.optional import require
from edgezoo.sources._device import Device

_KINDS = "bmp dib jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm tif tiff webp"
SUFFIXES = tuple(f".{kind}" for kind in _KINDS.split())


class Images:
    """Images by name, `a2` before `a10`; a folder's own, not its folders'; hidden files are left out.

    Each frame's `source` is the file's own path. `pts_s` is the index, as if one were shown a
    second: photos have no clock, and whoever divides by a time step should not divide by zero.
    EXIF orientation is honoured. Files that cannot be read do not stop the others: one SourceError
    at the end names them.
    """

    live = False
    fps = None
    size_wh = None

    def __init__(self, address: Address) -> None:
        address.check_options(())
        self.address = str(address)
        self.paths = find_images(address.target)
        """What will be read, in order."""
        self._device = Device(self.address)

    def __iter__(self) -> Iterator[Frame]:
        unreadable: list[str] = []
        with self._device.iterating():
            for index, path in enumerate(self.paths):
                if self._device.ended.is_set():
                    return
                try:
                    data = np.fromfile(path, np.uint8)  # not cv2.imread: on Windows it knows no Unicode
                except OSError as error:
                    unreadable.append(f"{path} ({error.strerror})")
                    continue
                grabbed_ns = time.monotonic_ns()
                image = _decode(data)
                if image is None:
                    unreadable.append(path)
                    continue
                yield Frame(image, index, float(index), grabbed_ns, path)
        if unreadable:
            raise SourceError(self._complaint(unreadable))

    def close(self) -> None:
        self._device.close()

    def _complaint(self, unreadable: list[str]) -> str:
        named = ", ".join(unreadable[:5]) + (f" and {len(unreadable) - 5} more" if len(unreadable) > 5 else "")
        if len(self.paths) == 1:
            return f"{named}: expected an image, got a file that cannot be read as one; is it complete?"
        return f"{self.address}: expected {len(self.paths)} images, could not read {len(unreadable)} of them: {named}"


def is_images(path: str) -> bool:
    """Whether `path` is for this source: a folder, a pattern, or the name of an image."""
    return os.path.isdir(path) or path.lower().endswith(SUFFIXES) or _is_pattern(path)


def find_images(path: str) -> list[str]:
    """The images at `path`, naturally sorted. SourceError where there are none."""
    if os.path.isdir(path):
        found = [os.path.join(path, name) for name in os.listdir(path)]
        what = f"expected images in the folder {path}, found none"
    elif _is_pattern(path):
        found = glob.glob(path, recursive=True)
        what = f"expected images that match {path}, found none"
    elif os.path.isfile(path):
        return [path]
    else:
        raise SourceError(f"expected an image, found no file at {path}")
    images = [each for each in found if _is_image_file(each)]
    if not images:
        raise SourceError(f"{what}; known are {_KINDS}")
    return sorted(images, key=_natural)


def _is_pattern(path: str) -> bool:
    return glob.has_magic(path) and not os.path.exists(path)


def _is_image_file(path: str) -> bool:
    name = os.path.basename(path)
    return name.lower().endswith(SUFFIXES) and not name.startswith(".") and os.path.isfile(path)


def _natural(path: str) -> list[tuple[int, int, str]]:
    """Numbers by value, words without case: `a2.jpg` before `A10.jpg`."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", path.casefold())]


def _decode(data: np.ndarray) -> Image | None:
    cv2 = require("cv2")
    if not data.size:
        return None
    try:
        image: Image | None = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:  # too many pixels, or a header that lies
        return None
    return image
