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

KINDS = (".png", ".jpg", ".webp", ".bmp", ".tiff", ".gif", ".ppm", ".pam", ".pfm", ".hdr", ".jp2", ".sr")
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def png(width: int, height: int, *, data: bytes | None = None) -> bytes:
    """One bit a pixel, all of them black; `data` instead of what its pixels would be."""
    if data is None:
        row = bytes(1 + (width + 7) // 8)
        packer = zlib.compressobj(9)
        data = b"".join(packer.compress(row * 64) for _ in range(height // 64))
        data += packer.compress(row * (height % 64)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in ((b"IHDR", head), (b"IDAT", data), (b"IEND", b"")))


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
    if kind == ".tiff":
        tags = b"".join(struct.pack(">HHII", tag, 4, 1, side) for tag, side in ((256, width), (257, height)))
        return b"MM\0*" + struct.pack(">IH", 8, 2) + tags + bytes(4)
    if kind == ".jp2":
        sizes = struct.pack(">IIIIIIII", width, height, 0, 0, width, height, 0, 0)
        return b"\xff\x4f\xff\x51\0\x2f\0\0" + sizes + b"\0\x03" + b"\x07\x01\x01" * 3
    if kind == ".bmp":
        return b"BM" + bytes(12) + struct.pack("<Iii", 40, width, -height) + b"\x01\0\x18\0" + bytes(24)
    if kind == ".gif":
        return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0"
    if kind == ".sr":
        return b"\x59\xa6\x6a\x95" + struct.pack(">II", width, height) + bytes(20)
    heads = {
        ".ppm": f"P6\n# a comment\n{width} {height}\n255\n",
        ".pam": f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH 3\nMAXVAL 255\nENDHDR\n",
        ".pfm": f"PF\n{width} {height}\n-1\n",
        ".hdr": f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n",
    }
    return heads[kind].encode()


def good() -> list[bytes]:
    """A small image of every kind that can be made here, some by another library."""
    scene = graphs.scene((48, 36), (8, 8, 32, 28))
    made = []
    for kind in KINDS:
        image = scene.astype(np.float32) / 255 if kind in (".hdr", ".pfm") else scene
        if cv2.haveImageWriter(f"x{kind}"):
            made.append(bytes(cv2.imencode(kind, image)[1]))
    rgb = scene[:, :, ::-1]
    made += [by_pillow(rgb, "JPEG", progressive=True), by_pillow(rgb, "TIFF", compression="tiff_lzw")]
    return [*made, by_pillow(rgb, "PNG"), by_pillow(rgb, "WEBP")]


def by_pillow(pixels: npt.NDArray[Any], name: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, name, **options)
    return out.getvalue()


def bodies(count: int, *, seed: int) -> Iterator[bytes]:
    dice = random.Random(seed)
    seeds = good()
    for _ in range(count):
        if dice.random() < 0.1:
            yield dice.choice(seeds)[: dice.randint(0, 16)] + dice.randbytes(dice.randint(0, 3000))
        else:
            yield damaged(dice.choice(seeds), dice)


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


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
