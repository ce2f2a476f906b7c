"""The input recipe: how an image becomes what a network was trained to see.

The host does geometry only (`place`, with `cv2.resize`); type, layout, colour order, mean and std are
the first nodes of every graph. `tensor` says in NumPy what the network sees, and a test holds the graphs to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from edgezoo.errors import ShapeError
from edgezoo.frame import Image, check_image
from edgezoo.geometry import Placement
from edgezoo.optional import require

Fit = Literal["stretch", "letterbox", "crop"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "area"]

_CV2_INTERPOLATION = {
    "nearest": "INTER_NEAREST",
    "bilinear": "INTER_LINEAR",
    "bicubic": "INTER_CUBIC",
    "area": "INTER_AREA",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocess:
    """A recipe as data; it belongs to one set of weights."""

    size_wh: tuple[int, int]
    """Width and height of the network's input in pixels."""
    fit: Fit
    """`stretch` fills the input; `letterbox` keeps the aspect and pads; `crop` takes a part from the centre."""
    align: Literal["top-left", "center"] = "top-left"
    """Where `letterbox` puts the image."""
    pad: int = 114
    """Grey value of the letterbox's border."""
    crop: float = 1.0
    """The part of the short side that `crop` keeps: 0.875 is "resize to 256, crop 224"."""
    interpolation: Interpolation = "bilinear"
    color: Literal["BGR", "RGB"] = "BGR"
    """Channel order of the network; images come in as BGR."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted per channel, in 0..255 units, in the order of `color`."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Divided by, likewise."""

    def __post_init__(self) -> None:
        for what, good in (
            (f"size_wh of 1..16384 pixels, got {self.size_wh}", all(1 <= side <= 16384 for side in self.size_wh)),
            (f"pad of 0..255, got {self.pad}", 0 <= self.pad <= 255),
            (f"crop above 0 and up to 1, got {self.crop}", 0 < self.crop <= 1),
            (f"finite mean, got {self.mean}", bool(np.isfinite(self.mean).all())),
            (f"std above 0, got {self.std}", all(0 < value < float("inf") for value in self.std)),
            (f"fit of stretch, letterbox or crop, got {self.fit!r}", self.fit in get_args(Fit)),
            (f"align of top-left or center, got {self.align!r}", self.align in ("top-left", "center")),
            (f"color of BGR or RGB, got {self.color!r}", self.color in ("BGR", "RGB")),
            (
                f"interpolation of nearest, bilinear, bicubic or area, got {self.interpolation!r}",
                self.interpolation in _CV2_INTERPOLATION,
            ),
        ):
            if not good:
                raise ValueError(f"expected {what}")

    def place(self, image: Image, out: Image | None = None) -> tuple[Image, Placement]:
        """The image in the network's frame, uint8 (H, W, 3) BGR, and how to come home from there.

        Written into `out` where given (same shape, C-contiguous), else into a new array. Raises ShapeError.
        """
        check_image(image)
        width, height = self.size_wh
        if out is None:
            out = np.empty((height, width, 3), np.uint8)
        elif out.shape != (height, width, 3) or out.dtype != np.uint8:
            raise ShapeError(f"expected out as uint8 {(height, width, 3)}, got {out.dtype} {out.shape}")
        x, y, crop_width, crop_height = self._window(image.shape[1], image.shape[0])
        left, top, fit_width, fit_height = self._target(crop_width, crop_height)
        inside = out[top : top + fit_height, left : left + fit_width]
        self.resize(image[y : y + crop_height, x : x + crop_width], inside)
        out[:top] = self.pad
        out[top + fit_height :] = self.pad
        out[top : top + fit_height, :left] = self.pad
        out[top : top + fit_height, left + fit_width :] = self.pad
        scale_x, scale_y = fit_width / crop_width, fit_height / crop_height
        placement = Placement.of(
            scale_xy=(scale_x, scale_y),
            shift_xy=(left - x * scale_x, top - y * scale_y),
            source_wh=(image.shape[1], image.shape[0]),
        )
        return out, placement

    def tensor(self, image: Image) -> npt.NDArray[np.float32]:
        """What the network sees, float32 (3, H, W): the oracle for every graph's first nodes."""
        placed, _ = self.place(image)
        pixels = placed.astype(np.float32)
        if self.color == "RGB":
            pixels = pixels[..., ::-1]
        scaled = (pixels - np.array(self.mean, np.float32)) * self.inverse_std
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))

    @property
    def inverse_std(self) -> npt.NDArray[np.float32]:
        """(3,) the float32 factors that stand for the division by `std`, here and in every graph."""
        return np.array([1 / value for value in self.std], np.float32)

    def _window(self, width: int, height: int) -> tuple[int, int, int, int]:
        """x, y, width, height of the part of the source that is used."""
        if self.fit != "crop":
            return 0, 0, width, height
        aspect = self.size_wh[0] / self.size_wh[1]
        keep_width = max(1, round(min(width, height * aspect) * self.crop))
        keep_height = max(1, round(min(height, width / aspect) * self.crop))
        return (width - keep_width) // 2, (height - keep_height) // 2, keep_width, keep_height

    def _target(self, width: int, height: int) -> tuple[int, int, int, int]:
        """left, top, width, height of where that part goes in the network's input."""
        net_width, net_height = self.size_wh
        if self.fit != "letterbox":
            return 0, 0, net_width, net_height
        scale = min(net_width / width, net_height / height)
        # Down, not to the nearest, as YOLOX trains; the small number guards 415.99999 against becoming 415.
        fit_width, fit_height = max(1, int(width * scale + 1e-6)), max(1, int(height * scale + 1e-6))
        if self.align == "top-left":
            return 0, 0, fit_width, fit_height
        return (net_width - fit_width) // 2, (net_height - fit_height) // 2, fit_width, fit_height

    def resize(self, image: Image, out: Image) -> None:
        """Fill `out` with `image`, by the recipe's interpolation; either may be a part of a larger array."""
        if image.shape == out.shape:
            out[:] = image
            return
        cv2 = require("cv2")
        size = (out.shape[1], out.shape[0])
        drawn = cv2.resize(image, size, dst=out, interpolation=getattr(cv2, _CV2_INTERPOLATION[self.interpolation]))
        if drawn.ctypes.data != out.ctypes.data:  # an OpenCV that could not write through the view
            out[:] = drawn
