"""The part of a picture that is looked at: `#roi=x,y,w,h`, in pixels or in fractions of the whole."""

from __future__ import annotations

from dataclasses import dataclass

from edgezoo.errors import RequestError, SourceRefused


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle: upper left corner and size."""

    x: float
    y: float
    width: float
    height: float
    fractions: bool
    """Whether the numbers are 0..1 of the whole picture's sides, and not pixels."""

    @classmethod
    def parse(cls, text: str) -> Region:
        """Four numbers; fractions where none is above 1. Raises RequestError."""
        try:
            x, y, width, height = (float(part) for part in text.split(","))
        except ValueError:
            x = y = width = height = -1.0
        fractions = max(x, y, width, height) <= 1
        most = 1 + 1e-6 if fractions else float(1 << 20)
        if not (min(x, y) >= 0 and 0 < width <= most - x and 0 < height <= most - y):
            raise RequestError(
                f"expected roi=X,Y,WIDTH,HEIGHT in pixels or in 0..1 of the picture, such as 0.5,0,0.5,1, got {text!r}"
            )
        return cls(x, y, width, height, fractions)

    def box(self, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
        """Its edges x1, y1, x2, y2 in a picture of that size, cut off there; SourceRefused where nothing is left."""
        scale_x, scale_y = size_wh if self.fractions else (1, 1)
        x1, y1 = round(self.x * scale_x), round(self.y * scale_y)
        x2 = min(size_wh[0], round((self.x + self.width) * scale_x))
        y2 = min(size_wh[1], round((self.y + self.height) * scale_y))
        if x2 <= x1 or y2 <= y1:
            asked = f"{self.x:g},{self.y:g},{self.width:g},{self.height:g}"
            picture = f"{size_wh[0]}x{size_wh[1]}"
            raise SourceRefused(
                f"expected roi={asked} to be inside the picture, which is {picture}; try 0..1 of its sides"
            )
        return x1, y1, x2, y2
