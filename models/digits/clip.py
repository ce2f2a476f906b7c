"""Renders the clip that `edgezoo demo` shows where there is no camera: a hand-held look at a wall full of numbers.

    python models/digits/clip.py OUT.mp4

640x480, 15 frames a second, ten seconds; the end meets the beginning. Needs what `render.py` needs, and ffmpeg: what
OpenCV writes is of one quality only, and three times as large.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import backgrounds
import cv2
import fonts
import handwriting
import ink
import numpy as np
import numpy.typing as npt
import segments
from colors import Color
from ink import Ink
from patches import Image, Patch

WALL_WH = (1920, 1440)
FRAME_WH = (640, 480)
FPS, SECONDS = 15, 10
CODEC = "-c:v mpeg4 -b:v 460k -g 75 -bf 0 -mbd rd -trellis 1 -cmp 2 -subcmp 2 -pix_fmt yuv420p -movflags +faststart"
"""MPEG-4 part 2: of all that is small enough, what most builds of OpenCV decode."""
STOPS = np.array([
    # x, y, frame pixels for one of the wall
    (960, 700, 0.45), (740, 580, 0.56), (590, 430, 0.76), (930, 430, 0.72), (1400, 410, 0.76), (1390, 720, 0.60),
    (1350, 1000, 0.76), (940, 1010, 0.70), (560, 1000, 0.76), (740, 850, 0.56),
])  # fmt: skip
"""Where the camera looks, one place a second."""

WHITE: Color = (238, 242, 244)
BLACK: Color = (32, 30, 30)


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the clip of `edgezoo demo`.")
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    if shutil.which("ffmpeg") is None:
        parser.exit(2, "ffmpeg is missing; try: apt-get install --no-install-recommends ffmpeg\n")
    raw = f"-f rawvideo -pix_fmt bgr24 -s {FRAME_WH[0]}x{FRAME_WH[1]} -r {FPS} -i -"
    command = f"ffmpeg -loglevel error -y {raw} {CODEC}".split()
    with subprocess.Popen([*command, str(out)], stdin=subprocess.PIPE) as ffmpeg:
        assert ffmpeg.stdin is not None
        for frame in _frames():
            ffmpeg.stdin.write(frame.tobytes())
    parser.exit(ffmpeg.returncode)


def _frames() -> Iterator[Image]:
    rng = np.random.default_rng(11)
    wall = _wall(rng)
    for number in range(FPS * SECONDS):
        lit = wall.copy()
        _put(lit, _clock(number / FPS), (1420, 380), -1.5)
        yield _seen(rng, lit, number / FPS)


def _wall(rng: np.random.Generator) -> Image:
    """Boards, and everything on them that stays as it is."""
    wall = _boards(rng)
    _put(wall, _meter(rng), (585, 420), 0.8)
    _put(wall, _plate(), (1035, 420), 0)
    _put(wall, _note(), (545, 1010), -4)
    _put(wall, _calendar(), (990, 1000), 2)
    _put(wall, _tag(), (1400, 1000), -6)
    return wall


def _boards(rng: np.random.Generator) -> Image:
    width, height = WALL_WH
    field = np.zeros((height, width), np.float32)
    for top in range(0, height, 240):
        # Grain is noise that is far longer than high, bent by noise that is not.
        grain = cv2.resize(backgrounds.noise(rng, 60, 240, (40.0, 160.0)), (width, 240), interpolation=cv2.INTER_CUBIC)
        bend = backgrounds.noise(rng, width, 240, (2.0, 5.0)) * 26
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(240, dtype=np.float32))
        board = cv2.remap(grain, x, y + bend, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        field[top : top + 240] = board * 0.2 + rng.uniform(-0.16, 0.16)
        field[top : top + 5] -= 0.7
    brown = np.array((96, 134, 168), np.float32)
    tones = brown * (1 + field[..., np.newaxis] * np.array((0.5, 0.42, 0.36), np.float32))
    return np.asarray(np.clip(tones, 0, 255), np.uint8)


def _put(wall: Image, thing: Patch, center: tuple[float, float], degrees: float) -> None:
    """Fix a thing to the wall, with the shadow that it throws."""
    height, width = thing.alpha.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    turn[:, 2] += np.array(center) - (width / 2, height / 2)
    x, y, reach = int(center[0]), int(center[1]), int(np.hypot(width, height) / 2) + 40
    home = np.array([[1, 0, reach - x], [0, 1, reach - y]], float)
    turn[:, 2] += home[:, 2]
    size = (2 * reach, 2 * reach)
    image = cv2.warpAffine(thing.image, turn, size, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    alpha = cv2.warpAffine(thing.alpha, turn, size).astype(np.float32)[..., np.newaxis] / 255
    shadow = cv2.GaussianBlur(np.roll(alpha, (14, 10), (0, 1)), (0, 0), 9)[..., np.newaxis]
    window = wall[y - reach : y + reach, x - reach : x + reach]
    window[:] = window * (1 - 0.5 * shadow) * (1 - alpha) + image * alpha


def _type(text: str, height: float, face: str = "Roboto-Regular") -> Ink:
    """In the typeface whose file has that name."""
    return ink.printed(next(f for f in fonts.all_faces() if f.path.stem == face), text, height)


def _middle(patch: Patch, writing: Ink, y: float, color: Color, x: float | None = None) -> None:
    """Centred on x, or on the patch, with its upper edge at y."""
    center = patch.alpha.shape[1] / 2 if x is None else x
    patch.put(writing, center - writing.alpha.shape[1] / 2, y, color)


def _rounded(patch: Patch, radius: int) -> None:
    height, width = patch.alpha.shape
    patch.alpha[:] = 0
    cv2.rectangle(patch.alpha, (radius, 0), (width - radius, height), 255, -1)
    cv2.rectangle(patch.alpha, (0, radius), (width, height - radius), 255, -1)
    for x in (radius, width - 1 - radius):
        for y in (radius, height - 1 - radius):
            cv2.circle(patch.alpha, (x, y), radius, 255, -1, cv2.LINE_AA)


def _lit(patch: Patch, strength: float = 14) -> Patch:
    """Light from the upper left."""
    height, width = patch.alpha.shape
    slope = np.linspace(1, -1, height)[:, np.newaxis] + np.linspace(0.6, -0.6, width)
    patch.image[:] = np.clip(patch.image + (slope * strength)[..., np.newaxis], 0, 255)
    return patch


def _screw(patch: Patch, x: int, y: int) -> None:
    cv2.circle(patch.image, (x, y), 11, (120, 124, 126), -1, cv2.LINE_AA)
    cv2.circle(patch.image, (x - 1, y - 1), 9, (176, 180, 182), -1, cv2.LINE_AA)
    cv2.line(patch.image, (x - 6, y + 4), (x + 6, y - 4), (80, 82, 84), 3, cv2.LINE_AA)


def _meter(rng: np.random.Generator) -> Patch:
    """Six wheels, the last one red, and a disc below."""
    patch = Patch.plain(560, 500, (196, 200, 198))
    cv2.rectangle(patch.image, (26, 26), (534, 474), (214, 218, 216), -1)
    _middle(patch, _type("ELECTRICITY METER", 26), 52, BLACK)
    left, top, wide, tall = 64, 110, 72, 112
    cv2.rectangle(patch.image, (left - 10, top - 10), (left + 6 * wide + 8, top + tall + 10), (40, 40, 40), -1)
    shade = 1 - 0.65 * np.linspace(-1, 1, tall) ** 2
    for i, character in enumerate("047316"):
        wheel = np.array((46, 40, 190) if i == 5 else (52, 50, 50)) * shade[:, np.newaxis]
        x = left + i * wide
        patch.image[top : top + tall, x : x + wide - 6] = wheel[:, np.newaxis]
        _middle(patch, _type(character, 72), top + 20 + rng.normal(0, 2), WHITE, x + wide / 2 - 3)
    _middle(patch, _type("kWh", 34, "Roboto-Black"), 248, BLACK)
    cv2.rectangle(patch.image, (130, 320), (430, 356), (70, 70, 72), -1)
    cv2.rectangle(patch.image, (138, 332), (422, 344), (190, 194, 196), -1)
    cv2.rectangle(patch.image, (300, 332), (330, 344), (50, 40, 200), -1)
    _middle(patch, _type("edge energy", 28, "Comfortaa-Bold"), 400, (120, 90, 40))
    for x in (52, 508):
        _screw(patch, x, 448)
    _rounded(patch, 34)
    return _lit(patch)


def _plate() -> Patch:
    """Enamel, a house number."""
    patch = Patch.plain(250, 230, (128, 62, 24))
    cv2.rectangle(patch.image, (12, 12), (237, 217), WHITE, 4, cv2.LINE_AA)
    _middle(patch, _type("27", 120, "RG2014D"), 55, WHITE)
    for x in (32, 217):
        _screw(patch, x, 115)
    _rounded(patch, 22)
    return _lit(patch, 20)


def _clock(second: float) -> Patch:
    """Seven segments that count."""
    text = f"10:{24 + int(second):02d}"
    writing = segments.display(np.random.default_rng(3), text, 104, "train")
    height, width = writing.alpha.shape
    patch = Patch.plain(width + 120, height + 110, (34, 32, 32))
    cv2.rectangle(patch.image, (22, 22), (width + 97, height + 87), (16, 12, 22), -1)
    red: Color = (60, 56, 250)
    if writing.ghost is not None:
        patch.put(Ink(writing.ghost), 60, 55, red, 0.07)
    glow = cv2.GaussianBlur(ink.padded(writing.alpha, 40), (0, 0), 9)
    patch.put(Ink(np.asarray(glow, np.uint8)), 20, 15, red, 0.35)
    patch.put(writing, 60, 55, red)
    _rounded(patch, 24)
    return patch


def _note() -> Patch:
    """Yellow paper, a telephone number by hand."""
    patch = Patch.plain(560, 330, (132, 226, 246))
    for y in range(84, 330, 74):
        cv2.line(patch.image, (0, y), (560, y), (176, 206, 214), 2)
    blue: Color = (130, 52, 30)
    rng = np.random.default_rng(8)  # a hand that everyone can read
    word = _type("call Anna", 56, "dkg")
    patch.put(word, 40, 16, blue)
    for text, top in (("555 307", 124), ("14.30", 222)):
        patch.put(handwriting.written(rng, text, 62, "train"), 44, top, blue)
    cv2.circle(patch.image, (280, 16), 15, (40, 40, 200), -1, cv2.LINE_AA)
    cv2.circle(patch.image, (275, 11), 5, (150, 150, 245), -1, cv2.LINE_AA)
    return _lit(patch, 10)


def _calendar() -> Patch:
    patch = Patch.plain(250, 290, WHITE)
    patch.image[:78] = (52, 46, 196)
    _middle(patch, _type("MAY", 44, "OpenSans-ExtraBold"), 18, WHITE)
    _middle(patch, _type("19", 118, "OpenSans-ExtraBold"), 118, BLACK)
    for x in (70, 180):
        cv2.circle(patch.image, (x, 6), 9, (60, 60, 60), -1, cv2.LINE_AA)
    return _lit(patch, 8)


def _tag() -> Patch:
    patch = Patch.plain(420, 250, (60, 206, 248))
    _middle(patch, _type("fresh coffee", 34, "Lato-Black"), 26, BLACK)
    patch.put(_type("4", 116, "Lato-Black"), 70, 104, (40, 36, 190))
    patch.put(_type("85", 66, "Lato-Black"), 176, 104, (40, 36, 190))
    patch.put(_type("€", 80, "Lato-Black"), 300, 122, (40, 36, 190))
    _rounded(patch, 18)
    cv2.circle(patch.alpha, (386, 34), 13, 0, -1, cv2.LINE_AA)
    return _lit(patch, 10)


def _seen(rng: np.random.Generator, wall: Image, second: float) -> Image:
    """What the camera sees of the wall at that time: a hand holds it."""
    x, y, scale = _path(second)
    t = 2 * np.pi * second / SECONDS
    x += 3.5 * np.sin(7 * t) + 2 * np.sin(17 * t + 1)
    y += 3.0 * np.sin(9 * t + 2) + 1.5 * np.sin(23 * t)
    tilt = np.deg2rad(0.8 * np.sin(3 * t) + 0.15 * np.sin(19 * t))
    cosine, sine = scale * np.cos(tilt), scale * np.sin(tilt)
    width, height = FRAME_WH
    way = np.array([[cosine, sine, 0], [-sine, cosine, 0]])
    way[:, 2] = np.array([width / 2, height / 2]) - way[:, :2] @ (x, y)
    # Warped at twice the size and halved, or fine lines would flicker.
    way[:, 2] += 0.25
    large = cv2.warpAffine(wall, 2 * way, (2 * width, 2 * height), borderMode=cv2.BORDER_REFLECT)
    frame = cv2.resize(large, FRAME_WH, interpolation=cv2.INTER_AREA).astype(np.float32)
    u, v = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, np.newaxis]
    light = (1.04 - 0.16 * (u**2 + v**2) / 2) * (1 + 0.015 * np.sin(5 * t))
    frame = frame * light[..., np.newaxis] + rng.normal(0, 1.2, (height, width, 1))
    return np.asarray(np.clip(frame, 0, 255), np.uint8)


def _path(second: float) -> npt.NDArray[np.float64]:
    """A smooth closed curve through the stops, slower near each of them."""
    count = len(STOPS)
    at = second / SECONDS * count
    first, t = int(at), at % 1
    t = 0.5 * t + 0.5 * t * t * (3 - 2 * t)
    a, b, c, d = (STOPS[(first + i) % count] for i in (-1, 0, 1, 2))
    point = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.asarray(point, np.float64)


if __name__ == "__main__":
    main()
