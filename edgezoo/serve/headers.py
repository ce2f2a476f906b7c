"""How large an image would be, read from its first bytes: before anything is decoded, and so before it costs anything.

A kilobyte of PNG may decode to a gigapixel. OpenCV reads many kinds more, whose headers are harder to believe, or whose
decoders write files or take minutes for little (Radiance, GIF): only what cameras and programs mostly send is let in.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from edgezoo.errors import SourceError

Bytes = bytes | bytearray | memoryview

_DAMAGED = "expected a {}, got one whose size cannot be told; is it complete?"
_NO_FRAME = {0xC4, 0xC8, 0xCC}  # tables among JPEG's markers of frames
_SCANS = 16  # of a JPEG, without cost; progressive ones have some ten
_MARKER = re.compile(b"\xff([\x01-\xfe])")
_SEGMENT = re.compile(b"\xff([\xc0-\xcf\xd9-\xfe])")  # what is known to have a length, or the end
_SEGMENTS = 100_000  # of a JPEG, behind its size
_CHUNKS = 16_384  # of a PNG
_PARTS = 4096  # of a JPEG, before its size
_PACKED = frozenset({b"zTXt", b"iTXt", b"iCCP"})  # of a PNG, unpacked as it is read
_DEFLATE = 1032  # bytes that one unpacks to at most
_LONGEST_TEXT = 8_000_000  # that libpng unpacks
_APNG = 3  # pictures of four times 16 bits that OpenCV keeps of an animation


def pixels_of(data: Bytes) -> int:
    """So many pixels of work is the image `data`: width times height, more where it costs more to decode.

    Raises SourceError: not an image of a kind that is taken, or its header is damaged.
    """
    begins = bytes(data[:16])
    for name, is_it, size in _KINDS:
        if is_it(begins):
            try:
                return size(data)
            except (struct.error, LookupError, ValueError):
                raise SourceError(_DAMAGED.format(name)) from None
    named = ", ".join(name for name, _, _ in _KINDS)
    came = f"bytes that begin with {begins[:8].hex(' ')}" if begins else "nothing"
    raise SourceError(f"expected an image ({named}), got {came}; try to save it as JPEG or PNG")


def _jpeg(data: Bytes) -> int:
    """The first frame header counts, as for libjpeg, which takes no second one."""
    at = 2
    for _ in range(_PARTS):
        found = _MARKER.search(data, at)  # what stands between segments is passed over, as decoders do
        if found is None:
            break
        marker, at = found[1][0], found.end()
        if marker in (0xDA, 0xD9):
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return _area(width, height) * max(1, _scans(data, at) // _SCANS)  # each may go over the whole picture again
        at += max(2, struct.unpack_from(">H", data, at)[0])
    raise ValueError


def _scans(data: Bytes, at: int) -> int:
    """How many stand before the image's end; what phones append behind it is none of it.

    A decoder that meets a marker among the pixels goes on behind it as if they were over.
    """
    scans = 0
    for _ in range(_SEGMENTS):
        if at + 2 > len(data):
            return scans
        found = _SEGMENT.search(data, at + max(2, struct.unpack_from(">H", data, at)[0]))
        if found is None or found[1] == b"\xd9":
            return scans
        scans, at = scans + (found[1] == b"\xda"), found.end()
    raise ValueError


def _png(data: Bytes) -> int:
    """Chunks are to be as long as they say: OpenCV takes memory for what they say, up to 4 GB."""
    width, height = struct.unpack_from(">II", data, 16)
    area, packed, at = _area(width, height), 0, 8
    for number in range(_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if at > len(data) or (kind == b"IHDR") != (number == 0):
            raise ValueError
        if kind == b"IEND":
            return area + packed // 3
        if kind == b"acTL":
            area = _APNG * width * height
        elif kind in _PACKED:
            packed += min(length * _DEFLATE, _LONGEST_TEXT)
    raise ValueError


def _webp(data: Bytes) -> int:
    """The first chunk decides: libwebp takes no picture of another size after it, nor animations that leave it."""
    kind = bytes(data[12:16])
    if kind == b"VP8X":
        return _area(*(int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27)))
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return _area((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        return _area(*(side & 0x3FFF for side in struct.unpack_from("<HH", data, 26)))
    raise ValueError


def _bmp(data: Bytes) -> int:
    kind = struct.unpack_from("<I", data, 14)[0]
    if kind == 12:
        return _area(*struct.unpack_from("<HH", data, 18))
    width, height = struct.unpack_from("<ii", data, 18)
    return _area(width, abs(height))  # below 0: rows from the top


def _area(width: int, height: int) -> int:
    if width < 1 or height < 1:
        raise ValueError
    return width * height


_KINDS: tuple[tuple[str, Callable[[bytes], bool], Callable[[Bytes], int]], ...] = (
    ("JPEG", lambda begins: begins.startswith(b"\xff\xd8\xff"), _jpeg),
    ("PNG", lambda begins: begins.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    ("WebP", lambda begins: begins[:4] == b"RIFF" and begins[8:12] == b"WEBP", _webp),
    ("BMP", lambda begins: begins.startswith(b"BM"), _bmp),
)
