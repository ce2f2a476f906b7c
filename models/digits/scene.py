"""One training scene: a background, clutter, patches with digits, and what a camera makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import backgrounds
import camera
import clutter
import cv2
import legibility
import numpy as np
import numpy.typing as npt
import patches
import things
from fonts import Split
from ink import Kind
from patches import Image, Patch

LONG_SIDE = 480
NETWORK_SIDE = 320
SCALE = LONG_SIDE / NETWORK_SIDE
"""Scene pixels for one of the network's."""
LEAST_HEIGHT = 12.0
LEAST_WIDTH = 2.5
"""A smaller digit, in network pixels, is not placed: nobody could be sure to read it there."""
MOST_HEIGHT = 220.0
ASPECTS = (1.0, 4 / 3, 3 / 4, 16 / 9, 9 / 16)
PLAIN, CLUTTERED = 0.10, 0.15
"""How many scenes are a photograph and no more, and how many hold clutter without a digit."""
LARGE = 0.2
"""How many scenes with digits start with a close view, whose digits are more than 60 network pixels high."""
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Boxes = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Scene:
    """A picture and every legible digit in it."""

    image: Image
    boxes_xyxy: Boxes
    """(n, 4), source pixels, within the image."""
    class_ids: npt.NDArray[np.int64]
    kinds: tuple[Kind, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Placed:
    """A patch and where it goes."""

    patch: Patch
    homography: Matrix
    boxes_xyxy: Boxes
    quad: npt.NDArray[np.float32]
    """(4, 2), the patch's corners in the scene."""


def render(seed: tuple[int, int], split: Split) -> Scene:
    """The scene of a seed and a number; always the same. One that cannot be read is drawn anew."""
    for attempt in range(12):
        rng = np.random.default_rng([*seed, SPLITS.index(split), *([attempt] if attempt else [])])
        if scene := _rendered(rng, split):
            return scene
    raise RuntimeError(f"scene {seed} of {split} stays illegible")


def _rendered(rng: np.random.Generator, split: Split) -> Scene | None:
    aspect = ASPECTS[rng.integers(len(ASPECTS))]
    width, height = round(LONG_SIDE * min(aspect, 1)), round(LONG_SIDE * min(1 / aspect, 1))
    placed: list[Placed] = []
    kind = rng.random()
    if kind < PLAIN:
        share = float(np.exp(rng.uniform(np.log(0.15), 0)))
        image = backgrounds.photograph(rng, split, width, height, share)
        if rng.random() < 0.1:
            clutter.scatter(rng, image, split, int(rng.integers(1, 4)))
    elif kind < PLAIN + CLUTTERED:
        image = backgrounds.background(rng, split, width, height, 0.6)
        clutter.scatter(rng, image, split, int(rng.integers(1, 22)))
    else:
        image = backgrounds.background(rng, split, width, height, 0.42)
        clutter.scatter(rng, image, split, int(rng.integers(0, 9)))
        placed = _place_all(rng, split, image)
        if not placed:
            return None
    writing = np.zeros((height, width), np.uint8)
    for one in placed:
        _draw(rng, image, writing, one)
    digits = [digit for one in placed for digit in one.patch.digits]
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(one.boxes_xyxy for one in placed)])
    boxes = np.clip(boxes, 0, (width, height, width, height)).astype(np.float32)
    smallest = float((boxes[:, 3] - boxes[:, 1]).min(initial=60.0))
    # What one camera spoils, another may show.
    for _ in range(3):
        photo = camera.photographed(rng, image, smallest)
        if legibility.all_legible(photo, writing, boxes, 1 / SCALE):
            class_ids = np.array([digit.class_id for digit in digits], np.int64)
            return Scene(photo, boxes, class_ids, tuple(digit.kind for digit in digits))
    return None


def _place_all(rng: np.random.Generator, split: Split, image: Image) -> list[Placed]:
    taken = np.zeros(image.shape[:2], np.uint8)
    placed: list[Placed] = []
    large = rng.random() < LARGE
    for number in range(int(rng.choice([1, 2, 3, 4], p=[0.25, 0.3, 0.25, 0.2]))):
        low, high = (14.0, 80.0) if rng.random() < 0.85 else (LEAST_HEIGHT, MOST_HEIGHT)
        if close := large and number == 0:
            low, high = 60.0, 1.1 * MOST_HEIGHT
        digit_px = SCALE * float(np.exp(rng.uniform(np.log(low), np.log(high))))
        for _ in range(6 if close else 4):
            if one := _placed(rng, split, image, taken, digit_px):
                placed.append(one)
                cv2.fillConvexPoly(taken, one.quad.round().astype(np.int32), 255)
                break
            digit_px = max(digit_px * 0.88, SCALE * (LEAST_HEIGHT + 1))
    return placed


def _placed(
    rng: np.random.Generator, split: Split, image: Image, taken: npt.NDArray[np.uint8], digit_px: float
) -> Placed | None:
    """A new patch in a free spot; None if it does not fit or a digit of it would be too small or cut."""
    height, width = taken.shape
    patch = things.random_patch(rng, split, digit_px, 0.95 * width)
    if not patch.digits:  # a label whose words left no room for any
        return None
    tall, wide = patch.alpha.shape
    angle = np.clip(rng.normal(0, 6), -15, 15) if rng.random() < 0.88 else rng.uniform(-30, 30)
    shape = _tilted(rng, wide, tall, np.deg2rad(angle))
    corners = np.array([[0, 0], [wide, 0], [wide, tall], [0, tall]], np.float32)
    extent = np.ptp(shape, axis=0) / (width, height)
    # A close view cuts the thing, though not its digits.
    cut = bool((extent > 1).any()) or (bool((extent > 0.6).any()) and rng.random() < 0.3)
    calmest, found = np.inf, None
    for _ in range(6):
        at = rng.uniform((0.1 * width, 0.1 * height), (0.9 * width, 0.9 * height))
        quad = (shape + at).astype(np.float32)
        homography: Matrix = np.asarray(cv2.getPerspectiveTransform(corners, quad), float)
        boxes = np.stack([d.box_xyxy(homography) for d in patch.digits])
        # What can be is moved inside.
        inner = boxes.reshape(-1, 2) if cut else quad
        low_xy, high_xy = inner.min(axis=0), inner.max(axis=0)
        if cut:  # seldom right at the edge
            rim = 0.5 * rng.uniform(0, 0.1) * np.maximum((width, height) - (high_xy - low_xy), 0)
            low_xy, high_xy = low_xy - rim, high_xy + rim
        if ((high_xy - low_xy) > (width, height)).any():
            return None
        inside = np.clip(low_xy, 0, (width, height) - (high_xy - low_xy)) - low_xy
        inside = (inside * (1.0 if rng.random() < 0.8 or cut else 0.7)).astype(np.float32)
        quad, boxes = quad + inside, boxes + np.tile(inside, 2)
        homography = np.array([[1, 0, inside[0]], [0, 1, inside[1]], [0, 0, 1]], float) @ homography
        area = np.zeros_like(taken)
        cv2.fillConvexPoly(area, quad.round().astype(np.int32), 255)
        if _large_and_whole(boxes, width, height) and not cv2.bitwise_and(area, taken).any():
            one = Placed(patch, homography, boxes, quad)
            if not patch.bare:
                return one
            # Bare ink goes where least lies under it, or it could not be read.
            x, y, w, h = cv2.boundingRect(area)
            if (unrest := float(image[y : y + h, x : x + w].std())) < calmest:
                calmest, found = unrest, one
    return found


def _large_and_whole(boxes: Boxes, width: int, height: int) -> bool:
    """Whether all digits are large enough, hardly cut by the edge, and none covers half of another."""
    clipped = np.clip(boxes, 0, (width, height, width, height))
    sides, seen = boxes[:, 2:] - boxes[:, :2], clipped[:, 2:] - clipped[:, :2]
    if (seen / SCALE < (LEAST_WIDTH, LEAST_HEIGHT)).any():
        return False
    areas = sides.prod(axis=1)
    shared = np.minimum(boxes[:, np.newaxis, 2:], boxes[:, 2:]) - np.maximum(boxes[:, np.newaxis, :2], boxes[:, :2])
    covered = np.maximum(shared, 0).prod(axis=2) / np.minimum(areas[:, np.newaxis], areas)
    np.fill_diagonal(covered, 0)
    return bool((seen.prod(axis=1) >= 0.85 * areas).all() and covered.max() < 0.5)


def _tilted(rng: np.random.Generator, wide: int, tall: int, angle: float) -> npt.NDArray[np.float64]:
    """(4, 2) corners about their middle, turned and seen a little from the side."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array([wide, tall]) / 2
    corners *= 1 + rng.normal(0, 0.035, (4, 2)) * (rng.random() < 0.7)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned: npt.NDArray[np.float64] = corners @ turn
    return turned


def _draw(rng: np.random.Generator, image: Image, writing: npt.NDArray[np.uint8], one: Placed) -> None:
    height, width = image.shape[:2]
    x1, y1 = np.maximum(np.floor(one.quad.min(axis=0)).astype(int), 0)
    x2, y2 = np.minimum(np.ceil(one.quad.max(axis=0)).astype(int), (width, height))
    window = image[y1:y2, x1:x2]
    patch = patches.dressed(rng, one.patch, window) if one.patch.bare else one.patch
    home = np.array([[1, 0, -x1], [0, 1, -y1], [0, 0, 1]], float)
    # OpenCV counts from the middle of pixel 0, boxes from its edge.
    half, back = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]), np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    way = back @ home @ one.homography @ half
    size = (int(x2 - x1), int(y2 - y1))
    front = cv2.warpPerspective(patch.image, way, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpPerspective(patch.alpha, way, size, flags=cv2.INTER_LINEAR)
    mine = writing[y1:y2, x1:x2]
    np.maximum(mine, cv2.warpPerspective(patch.ink, way, size, flags=cv2.INTER_LINEAR), out=mine)
    if not patch.bare and rng.random() < 0.4:
        shadow = cv2.GaussianBlur(np.roll(alpha, (3, 2), (0, 1)), (0, 0), 3)
        window[:] = window * (1 - shadow[..., np.newaxis] * np.float32(0.4 / 255))
    window[:] = window + (front.astype(np.float32) - window) * (alpha[..., np.newaxis] * np.float32(1 / 255))
