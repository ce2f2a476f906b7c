"""Photos: one, a folder of them, or a pattern such as '*.jpg'."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

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
        self.frames = len(self.paths)
        self._device = Device(self.address)

    @classmethod
    def of(cls, paths: Sequence[str]) -> Images:
        """Photos given one by one, in their order."""
        images = cls(Address("", paths[0]))
        images.paths, images.frames = [*paths], len(paths)
        images.address = f"{len(paths)} images"
        return images

    def __iter__(self) -> Iterator[Frame]:
        unreadable: list[SourceError] = []
        with self._device.iterating():
            for index, path in enumerate(self.paths):
                if self._device.ended.is_set():
                    return
                grabbed_ns = time.monotonic_ns()
                try:
                    image = read_image(path)
                except SourceError as error:
                    unreadable.append(error)
                    continue
                yield Frame(image, index, float(index), grabbed_ns, path)
        if len(self.paths) == 1 and unreadable:
            raise unreadable[0]
        if unreadable:
            count = len(unreadable)
            named = ", ".join(str(error).partition(": expected")[0] for error in unreadable[:5])
            more = f" and {count - 5} more" if count > 5 else ""
            raise SourceError(
                f"{self.address}: expected {self.frames} images, could not read {count} of them: {named}{more}"
            )

    def close(self) -> None:
        self._device.close()


def is_images(path: str) -> bool:
    """Whether `path` is for this source: a folder, a pattern, or the name of an image."""
    return os.path.isdir(path) or path.endswith("/") or path.lower().endswith(SUFFIXES) or _is_pattern(path)


def find_images(path: str) -> list[str]:
    """The images at `path`, naturally sorted. SourceError where there are none."""
    told = Address("", path)  # which may be one of a camera, without its scheme
    if os.path.isdir(path):
        found = [os.path.join(path, name) for name in os.listdir(path)]
        what = f"expected images in the folder {told}, found none"
    elif _is_pattern(path):
        found = glob.glob(path, recursive=True)
        what = f"expected images that match {told}, found none"
    elif os.path.isfile(path):
        return [path]
    elif path.endswith("/"):
        raise SourceError(f"expected a folder of images, found none at {told}")
    else:
        raise SourceError(f"expected an image, found no file at {told}")
    images = [each for each in found if _is_image_file(each)]
    if not images:
        raise SourceError(f"{what}; known are {_KINDS}")
    return sorted(images, key=natural)


def _is_pattern(path: str) -> bool:
    return glob.has_magic(path) and not os.path.exists(path)


def _is_image_file(path: str) -> bool:
    name = os.path.basename(path)
    return name.lower().endswith(SUFFIXES) and not name.startswith(".") and os.path.isfile(path)


def natural(path: str) -> list[tuple[int, int, str]]:
    """Numbers by value, words without case: `a2.jpg` before `A10.jpg`."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", path.casefold())]


def read_image(path: str | os.PathLike[str]) -> Image:
    """A photo as BGR uint8 (H, W, 3), turned upright by its EXIF data. Raises SourceError."""
    try:
        data = np.fromfile(path, np.uint8)  # not cv2.imread: on Windows it knows no Unicode
    except OSError as error:
        raise SourceError(f"{path}: expected an image: {error.strerror}") from None
    return decode_image(data, path)


def decode_image(data: npt.NDArray[np.uint8], path: str | os.PathLike[str]) -> Image:
    """What read_image answers for a file whose bytes are `data`; `path` is for the message. Raises SourceError."""
    cv2 = require("cv2")
    try:
        image: Image | None = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:  # too many pixels, or a header that lies
        image = None
    if image is None:
        raise SourceError(f"{path}: expected an image, got a file that cannot be read as one; is it complete?")
    return image
