"""How large an image would be, read from its first bytes: before anything is decoded, and so before it costs anything.

A kilobyte of PNG may decode to a gigapixel. What OpenCV would read by its first bytes is read here by the same ones,
and where a format says its size in several places, the largest counts.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

from edgezoo.errors import SourceError

_DAMAGED = "expected a {}, got one whose size cannot be told; is it complete?"
_NO_FRAME = {0xC4, 0xC8, 0xCC}  # tables among JPEG's markers of frames
_SCANS = 16  # of a JPEG, without cost; progressive ones have some ten
_MARKER = re.compile(b"\xff([\x01-\xfe])")
_CHUNKS = 65_536  # of a PNG
_TILE = 2048  # pixels' worth of memory that is kept for each
_PARTS = 4096  # of a file that are looked through for its size
_TEXT = 4096  # bytes within which a header of text must end


def pixels_of(data: bytes) -> int:
    """So many pixels of work is the image `data`: width times height, more where a format decodes to more.

    Raises SourceError: not an image that is known, or its header is damaged.
    """
    for name, is_it, size in _KINDS:
        if is_it(data):
            try:
                return size(data)
            except (struct.error, LookupError, ValueError):
                raise SourceError(_DAMAGED.format(name)) from None
    named = ", ".join(name for name, _, _ in _KINDS)
    came = f"bytes that begin with {data[:8].hex(' ')}" if data else "nothing"
    raise SourceError(f"expected an image ({named}), got {came}")


def _png(data: bytes) -> int:
    """Chunks are to be as long as they say: OpenCV takes memory for what they say, up to 4 GB."""
    if data[12:16] != b"IHDR":
        raise ValueError
    at = 8
    for _ in range(_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if at > len(data):
            raise ValueError
        if kind == b"IEND":
            break
    else:
        raise ValueError
    return _area(struct.unpack_from(">II", data, 16))


def _jpeg(data: bytes) -> int:
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
            scans = data.count(b"\xff\xda", at)  # each may go over the whole picture again
            return _area((width, height)) * max(1, scans // _SCANS)
        at += max(2, struct.unpack_from(">H", data, at)[0])
    raise ValueError


def _webp(data: bytes) -> int:
    sizes: list[tuple[int, ...]] = []
    at = 12
    for _ in range(_PARTS):
        if at + 8 > len(data):
            break
        kind, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        body = at + 8
        if kind == b"VP8X":
            sizes.append(tuple(int.from_bytes(data[body + k : body + k + 3], "little") + 1 for k in (4, 7)))
        elif kind == b"VP8L":
            bits = struct.unpack_from("<I", data, body + 1)[0]
            sizes.append(((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
        elif kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, body + 6)
            sizes.append((width & 0x3FFF, height & 0x3FFF))
        elif kind == b"ANMF":
            sizes.append(tuple(int.from_bytes(data[body + k : body + k + 3], "little") + 1 for k in (6, 9)))
        at = body + length + length % 2
    return max(map(_area, sizes))


def _gif(data: bytes) -> int:
    return _area(struct.unpack_from("<HH", data, 6))


def _bmp(data: bytes) -> int:
    kind = struct.unpack_from("<I", data, 14)[0]
    if kind == 12:
        return _area(struct.unpack_from("<HH", data, 18))
    width, height = struct.unpack_from("<ii", data, 18)
    return _area((width, abs(height)))  # below 0: rows from the top


def _tiff(data: bytes) -> int:
    """Of the first picture in it; 16 and more bits a sample, or many samples, cost their part."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    if big:
        at = struct.unpack_from(f"{order}Q", data, 8)[0]
        count, at, step = struct.unpack_from(f"{order}Q", data, at)[0], at + 8, 20
    else:
        at = struct.unpack_from(f"{order}I", data, 4)[0]
        count, at, step = struct.unpack_from(f"{order}H", data, at)[0], at + 2, 12
    found = dict(_tags(data, at, step, min(count, _PARTS), order))
    area = _area((found[256], found[257]))
    if found.get(322) and found.get(323):
        area = max(area, _area((found[322], found[323])))
    bits = max(8, found.get(258, 8)) * max(1, found.get(277, 1))
    return area * max(1, -(-bits // 24))


def _tags(data: bytes, at: int, step: int, count: int, order: str) -> Iterator[tuple[int, int]]:
    """Tags of whole numbers with their first values."""
    formats = {1: "B", 3: "H", 4: "I", 16: "Q"}
    for entry in range(at, at + step * count, step):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if kind not in formats or tag not in (256, 257, 258, 277, 322, 323):
            continue
        held, place = struct.unpack_from(f"{order}{'Q' if step == 20 else 'I'}", data, entry + 4)[0], entry + step
        place -= 8 if step == 20 else 4
        if held * struct.calcsize(formats[kind]) > (8 if step == 20 else 4):
            place = struct.unpack_from(f"{order}{'Q' if step == 20 else 'I'}", data, place)[0]
        yield tag, struct.unpack_from(f"{order}{formats[kind]}", data, place)[0]


def _jpeg_2000(data: bytes) -> int:
    """Of the code stream, wherever in the file one begins; its samples are decoded to 32 bits, and tiles cost, too."""
    areas: list[int] = []
    for found in re.finditer(b"\xff\x4f\xff\x51", data):
        right, bottom, left, top, wide, high = struct.unpack_from(">IIIIII", data, found.start() + 8)
        parts = struct.unpack_from(">H", data, found.start() + 40)[0]
        tiles = -(-right // wide) * -(-bottom // high) if wide and high else 0
        areas.append(_area((max(right - left, 0), max(bottom - top, 0))) * -(-4 * int(parts) // 3) + _TILE * tiles)
        if len(areas) > 16:
            raise ValueError
    return max(areas)


def _netpbm(data: bytes) -> int:
    """PBM, PGM and PPM: numbers with comments between them."""
    words = re.sub(rb"#[^\r\n]*", b"", data[2:_TEXT]).split(maxsplit=2)
    return _area((int(words[0]), int(words[1])))


def _pam(data: bytes) -> int:
    found = dict(re.findall(rb"^(WIDTH|HEIGHT|DEPTH)\s+(\d{1,9})\s*$", data[:_TEXT], re.MULTILINE))
    return _area((int(found[b"WIDTH"]), int(found[b"HEIGHT"]))) * -(-int(found[b"DEPTH"]) // 3)


def _pfm(data: bytes) -> int:
    words = data[2:_TEXT].split(maxsplit=2)
    return 4 * _area((int(words[0]), int(words[1])))


def _radiance(data: bytes) -> int:
    found = re.search(rb"^[-+][XY] (\d{1,9}) [-+][XY] (\d{1,9})\s*$", data[:_TEXT], re.MULTILINE)
    if found is None:
        raise ValueError
    return 4 * _area((int(found[1]), int(found[2])))


def _sun(data: bytes) -> int:
    return _area(struct.unpack_from(">II", data, 4))


def _area(size_wh: tuple[int, ...]) -> int:
    width, height = size_wh
    if width < 1 or height < 1:
        raise ValueError
    return width * height


def _begins(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(marks)


_KINDS: tuple[tuple[str, Callable[[bytes], bool], Callable[[bytes], int]], ...] = (
    ("JPEG", _begins(b"\xff\xd8\xff"), _jpeg),
    ("PNG", _begins(b"\x89PNG\r\n\x1a\n"), _png),
    ("WebP", lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _webp),
    ("BMP", _begins(b"BM"), _bmp),
    ("GIF", _begins(b"GIF87a", b"GIF89a"), _gif),
    ("TIFF", _begins(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    ("JPEG 2000", _begins(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), _jpeg_2000),
    ("PNM", lambda data: re.match(rb"P[1-6]\s", data) is not None, _netpbm),
    ("PAM", _begins(b"P7\n"), _pam),
    ("PFM", lambda data: re.match(rb"P[fF]\s", data) is not None, _pfm),
    ("Radiance", _begins(b"#?RADIANCE", b"#?RGBE"), _radiance),
    ("Sun raster", _begins(b"\x59\xa6\x6a\x95"), _sun),
)
