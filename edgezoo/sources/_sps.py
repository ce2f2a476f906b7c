"""The picture size in a sequence parameter set, which also tells of bit rates and colours, and may change for those.

ITU-T H.264 section 7.3.2.1.1 and H.265 section 7.3.2.2.1.
"""

from __future__ import annotations

from collections.abc import Callable

_HIGH = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)  # profiles that tell their chroma format

_LONGEST = 1024  # of one the size stands well before


class _Bits:
    def __init__(self, unit: bytes) -> None:
        unit = unit[:_LONGEST].replace(b"\0\0\3", b"\0\0")  # put in so that nothing looks like the beginning of a unit
        self._value, self._left = int.from_bytes(unit, "big"), 8 * len(unit)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("it is cut off")
        return (self._value >> self._left) & ((1 << count) - 1)

    def code(self) -> int:
        """Exp-Golomb; of a signed one only whether it is zero means anything."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


def size_wh(unit: bytes, *, h265: bool) -> tuple[int, int] | None:
    """Width and height; None for a unit that is none."""
    read: Callable[[_Bits], tuple[int, int]] = _h265 if h265 else _h264
    try:
        return read(_Bits(unit[2 if h265 else 1 :]))
    except ValueError:
        return None


def _h264(bits: _Bits) -> tuple[int, int]:
    profile, chroma = bits.take(8), 1
    bits.take(16)
    bits.code()
    if profile in _HIGH:
        if (chroma := bits.code()) == 3:
            bits.take(1)
        bits.code(), bits.code(), bits.take(1)
        if bits.take(1):
            for number in range(8 if chroma != 3 else 12):
                if bits.take(1):
                    _skip_scaling(bits, 16 if number < 6 else 64)
    bits.code()
    order = bits.code()
    if order == 0:
        bits.code()
    elif order == 1:
        bits.take(1), bits.code(), bits.code()
        for _ in range(bits.code()):
            bits.code()
    bits.code(), bits.take(1)
    width, height = 16 * (bits.code() + 1), 16 * (bits.code() + 1)
    fields = 2 - bits.take(1)
    if fields == 2:
        bits.take(1)
    bits.take(1)
    return _cropped(bits, width, height * fields, chroma, fields)


def _skip_scaling(bits: _Bits, count: int) -> None:
    last = following = 8
    for _ in range(count):
        if following:
            code = bits.code()
            following = (last + (-(code // 2) if code % 2 == 0 else code // 2 + 1)) % 256
        last = following or last


def _h265(bits: _Bits) -> tuple[int, int]:
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 96)
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    bits.take(2 * (8 - layers) if layers else 0)
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.code()
    if (chroma := bits.code()) == 3:
        bits.take(1)
    return _cropped(bits, bits.code(), bits.code(), chroma, 1)


def _cropped(bits: _Bits, width: int, height: int, chroma: int, fields: int) -> tuple[int, int]:
    if bits.take(1):
        left, right, top, bottom = (bits.code() for _ in range(4))
        width -= (left + right) * (2 if chroma in (1, 2) else 1)
        height -= (top + bottom) * (2 if chroma == 1 else 1) * fields
    return width, height
