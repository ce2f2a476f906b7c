"""Bodies that nobody should send: images that claim too much, and good ones damaged at random, by a seed."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import graphs
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

KINDS = (".png", ".jpg", ".webp", ".bmp")
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def png(width: int, height: int, *, data: bytes | None = None) -> bytes:
    """One bit a pixel, all of them black; `data` instead of what its pixels would be."""
    if data is None:
        row = bytes(1 + (width + 7) // 8)
        packer = zlib.compressobj(9)
        data = b"".join(packer.compress(row * 64) for _ in range(height // 64))
        data += packer.compress(row * (height % 64)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in ((b"IHDR", head), (b"IDAT", data), (b"IEND", b"")))


def claims(kind: str, width: int, height: int) -> bytes:
    """The first bytes of an image of that kind that says to be so large, and is not."""
    if kind == ".png":
        return png(width, height, data=zlib.compress(b""))
    if kind == ".jpg":  # what is in APP1 says another size
        thumbnail = b"\xff\xe1\x00\x0c\xff\xc0\x00\x11\x08\0\x01\0\x01\x03"
        return (
            b"\xff\xd8" + thumbnail + b"\xff\xc2\x00\x11\x08" + struct.pack(">HH", height, width) + b"\x03" + bytes(9)
        )
    if kind == ".webp":
        sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
        return b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + sides
    return b"BM" + bytes(12) + struct.pack("<Iii", 40, width, -height) + b"\x01\0\x18\0" + bytes(24)


def good() -> list[bytes]:
    """A small image of every kind that is taken, by two libraries, animations among them."""
    scene = graphs.scene((48, 36), (8, 8, 32, 28))
    made = [bytes(cv2.imencode(kind, scene)[1]) for kind in KINDS]
    rgb = scene[:, :, ::-1]
    made += [by_pillow(rgb, "JPEG", progressive=True), by_pillow(rgb, "PNG"), by_pillow(rgb[:, :, 0], "BMP")]
    made += [by_pillow(rgb, "WEBP"), by_pillow(rgb, "WEBP", exif=Pillow.Exif().tobytes() + b"more")]
    frames = [Pillow.fromarray(255 - rgb)]
    return [*made, *(by_pillow(rgb, kind, save_all=True, append_images=frames) for kind in ("PNG", "WEBP"))]


def others() -> dict[str, bytes]:
    """Small images of kinds that OpenCV reads and the server does not, whole ones."""
    scene = graphs.scene((48, 36), (8, 8, 32, 28))
    made = {kind: by_pillow(scene, kind) for kind in ("TIFF", "PPM", "GIF")}
    made["BigTIFF"] = by_pillow(scene, "TIFF", big_tiff=True)
    made["a TIFF's broken end"] = b"II+\0" + b"\xff" * 60
    made["Radiance"] = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 4 +X 4\n" + bytes(64)
    made["PBM"] = b"P4 8#8\n1\n" + bytes(64)
    made["PAM"] = b"P7\nWIDTH 4\nHEIGHT 4\nDEPTH 3\nMAXVAL 255\nENDHDR\n" + bytes(48)
    made["PFM"] = b"PF\n4 4\n-1\n" + bytes(192)
    for kind in (".jp2", ".sr"):
        if cv2.haveImageWriter(f"x{kind}"):
            made[kind] = bytes(cv2.imencode(kind, scene)[1])
    return made


def liars(width: int, height: int) -> dict[str, bytes]:
    """Images of that size, with another, small one said somewhere."""
    image = np.zeros((height, width, 3), np.uint8)
    small, large = (by_pillow(each, "JPEG") for each in (image[:8, :8], image))
    at, small_frame = large.index(b"\xff\xc0"), small[small.index(b"\xff\xc0") :][:19]
    scan = large.index(b"\xff\xda")
    made = {
        "a JPEG with a small frame before its own": large[:at] + small_frame + large[at:],
        "a JPEG with a small frame after its own": large[: at + 19] + small_frame + large[at + 19 :],
        "a JPEG with a small frame after its scan": large[: scan + 40] + small_frame + large[scan + 40 :],
        "a JPEG with a small frame in a segment": large[:2] + b"\xff\xe5\0\x15" + small_frame + large[2:],
        "a JPEG with filling": large[:at] + b"\xff\xff\x00\xff" + large[at:],
        "a JPEG with a small frame in what is passed over": large[:at] + small_frame[1:] + large[at:],
        "a JPEG after a whole small one": small + large,
    }
    png, heads = (
        by_pillow(image, "PNG"),
        [struct.pack(">IIBBBBB", *each, 8, 2, 0, 0, 0) for each in ((8, 8), (width, height))],
    )
    control = struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 1, 0, 0)
    frame = chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", control)
    made |= {
        "a PNG with two heads": png[:8] + chunk(b"IHDR", heads[0]) + png[8:],
        "a PNG with another head after its own": png[:33] + chunk(b"IHDR", heads[0]) + png[33:],
        "a PNG whose head is not the first chunk": png[:8] + chunk(b"tEXt", heads[0]) + png[8:],
        "a PNG whose frame is larger than it": png[:8] + chunk(b"IHDR", heads[0]) + frame + png[33:],
    }
    bmp, height_at = by_pillow(image, "BMP"), 22
    made |= {
        "a BMP of no height": bmp[:height_at] + b"\0\0\0\x80" + bmp[height_at + 4 :],
        "a BMP from its top": bmp[:height_at] + struct.pack("<i", -height) + bmp[height_at + 4 :],
        "a BMP with a short head": bmp[:14] + struct.pack("<IHHHH", 12, width, height, 1, 24) + bmp[26:],
        "a BMP with a head of no known length": bmp[:14] + struct.pack("<IHH", 16, 8, 8) + bmp[22:],
        "a BMP in runs": bmp[:28] + struct.pack("<HI", 8, 1) + bmp[34:],
    }
    for lossless in (False, True):
        webp = by_pillow(image, "WEBP", lossless=lossless)
        wide, moving = (b"VP8X\x0a\0\0\0" + flags + b"\7\0\0" * 2 for flags in (bytes(4), b"\2\0\0\0"))
        data, called = webp[12:], "lossless" if lossless else "lossy"
        of_small = by_pillow(image[:8, :8], "WEBP", lossless=lossless)[12:]
        made |= {
            f"a {called} WebP with a smaller canvas": _riff(wide + data),
            f"a {called} WebP whose animation has a smaller canvas": _riff(moving + data),
            f"a {called} WebP without its chunk's head": _riff(data[8:] + of_small),
            f"a {called} WebP after something": _riff(b"JUNK\0\0\0\0" + of_small + data),
            f"a {called} WebP before a small one": _riff(data + of_small),
        }
    return made


def _riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def by_pillow(pixels: npt.NDArray[Any], name: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, name, **options)
    return out.getvalue()


def bodies(count: int, *, seed: int) -> Iterator[bytes]:
    dice = random.Random(seed)
    seeds = [*good() * 3, *others().values()]
    for _ in range(count):
        if dice.random() < 0.1:
            yield dice.choice(seeds)[: dice.randint(0, 16)] + dice.randbytes(dice.randint(0, 3000))
        else:
            made = damaged(dice.choice(seeds), dice)
            yield with_right_sums(made) if dice.random() < 0.5 else made


def with_right_sums(data: bytes) -> bytes:
    """A PNG's chunks with their checksums, so that a decoder believes them; others as they are."""
    made, at = bytearray(data), 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(made):
        ends = at + 8 + int.from_bytes(made[at : at + 4], "big")
        made[ends : ends + 4] = struct.pack(">I", zlib.crc32(made[at + 4 : ends]))
        at = ends + 4
    return bytes(made)


def damaged(data: bytes, dice: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        at = dice.randrange(len(made) if dice.random() < 0.5 else min(len(made), 64)) if made else 0
        way = dice.randrange(6)
        if way == 0 and made:
            made[at] ^= 1 << dice.randrange(8)
        elif way == 1:
            del made[at:]
        elif way == 2:
            made[at : at + dice.randint(1, 64)] = b""
        elif way == 3:
            made[at:at] = dice.randbytes(dice.randint(1, 64))
        elif way == 4:
            size = dice.choice((1, 2, 4))
            number = dice.choice(_EXTREMES) & (256**size - 1)
            made[at : at + size] = number.to_bytes(size, dice.choice(("little", "big")))
        else:
            part = made[at : at + dice.randint(1, 256)]
            made[at:at] = part * dice.randint(1, 8)
    return bytes(made)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
