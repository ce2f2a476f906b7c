"""Every image read once, before the first step: what is wrong is told then, not an hour later and not never."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgezoo.errors import SourceError
from edgezoo.geometry import Boxes
from edgezoo.machine import cores
from edgezoo.measure.coco import misfit
from edgezoo.sources.images import decode_image
from edgezoo.train.listing import Item

SLACK_PX = 1.0
"""So far a box may reach beyond its image: annotations are rounded. It is clipped."""
_MOST_FAULTS = 3
_NO_BOXES: Boxes = np.zeros((0, 4), np.float32)


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """An item whose image was read."""

    item: Item
    content: bytes
    """SHA-256 of the file."""
    size_wh: tuple[int, int]
    boxes_xyxy: Boxes
    """Source pixels, clipped to the image."""
    faults: tuple[str, ...]
    """The other fields mean nothing where there are any."""

    def labels(self) -> list[tuple[object, ...]]:
        """In an order of their own: equal where the labels are equal."""
        boxes = self.boxes_xyxy.tolist() or [[]] * len(self.item.class_ids)
        return sorted(
            (class_id, crowd, *box)
            for class_id, crowd, box in zip(self.item.class_ids.tolist(), self.item.crowd.tolist(), boxes, strict=True)
        )


def see(items: Sequence[Item], progress: Callable[[int, int], None]) -> list[Seen]:
    """Every image, on all cores; of its pixels nothing is kept."""
    progress(0, len(items))
    seen = []
    with ThreadPoolExecutor(cores()) as pool:
        try:
            for one in pool.map(_see, items):
                seen.append(one)
                progress(len(seen), len(items))
        except BaseException:  # Ctrl-C too: ten thousand images need not be read for it
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return seen


def sort_out(seen: Sequence[Seen]) -> tuple[list[Seen], list[str]]:
    """Those to go on with, and a line for each of the others, in their order.

    Copies are files of the same bytes. Copies under one label and on one side stay, they do no harm. Under different
    labels all of them go, for nobody knows which is right; of copies on both sides those to validate with go; an image
    listed twice stays once.
    """
    lines = {k: f"{one.item.path}: {_joined(one.faults)}" for k, one in enumerate(seen) if one.faults}
    copies: defaultdict[bytes, list[int]] = defaultdict(list)
    for k, one in enumerate(seen):
        if not one.faults:
            copies[one.content].append(k)
    for group in copies.values():
        if len(group) > 1:
            wrong = _wrong_with_copies([seen[k] for k in group])
            lines |= {k: f"{seen[k].item.path}: {line}" for k, line in zip(group, wrong, strict=True) if line}
    return [one for k, one in enumerate(seen) if k not in lines], [lines[k] for k in sorted(lines)]


def _see(item: Item) -> Seen:
    if not os.path.isfile(item.path):  # nor is a pipe or a device, which may never end
        return Seen(item, b"", (0, 0), _NO_BOXES, ("expected an image: no such file",))
    try:
        data = item.path.read_bytes()
        if what := _cut_off(data):
            return Seen(item, b"", (0, 0), _NO_BOXES, (f"expected a whole image, got a {what}; copy it again",))
        height, width = decode_image(np.frombuffer(data, np.uint8), item.path).shape[:2]
    except SourceError as error:
        return Seen(item, b"", (0, 0), _NO_BOXES, (str(error).removeprefix(f"{item.path}: "),))
    except OSError as error:
        return Seen(item, b"", (0, 0), _NO_BOXES, (f"expected an image: {error.strerror}",))
    faults = list(item.faults)
    boxes = _NO_BOXES
    if wrong := misfit(item.size_wh, (width, height)):
        faults.append(wrong)
    else:
        boxes, wrong_boxes = _in_image(item, width, height)
        faults += wrong_boxes
    return Seen(item, hashlib.sha256(data).digest(), (width, height), boxes, tuple(faults))


def _cut_off(data: bytes) -> str:
    """What is known to have no end; OpenCV may fill the rest with grey and say nothing.

    Of damage in the middle of a JPEG it says nothing either, and it is not seen here.
    """
    if data.startswith(b"\x89PNG") and data.rfind(b"IEND") < 0:
        return "PNG without its end"
    if data.startswith(b"\xff\xd8\xff") and data.find(b"\xff\xd9", _start_of_scan(data)) < 0:
        return "JPEG without its end"
    return ""


def _start_of_scan(data: bytes) -> int:
    """Where a JPEG's pixels begin: the preview in its header has an end mark of its own."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        fill = data[at + 1] == 0xFF  # bytes before a mark may be filled up
        at += 1 if fill else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at


def _in_image(item: Item, width: int, height: int) -> tuple[Boxes, list[str]]:
    """Boxes in pixels, and what is wrong with them."""
    sides = np.array([width, height] * 2, np.float64)
    boxes = item.boxes_xyxy * sides if item.scaled else item.boxes_xyxy
    clipped = np.clip(boxes, 0, sides).astype(np.float32)
    finite = np.all(np.isfinite(boxes), axis=1)
    beyond = finite & np.any((boxes < -SLACK_PX) | (boxes > sides + SLACK_PX), axis=1)
    empty = finite & ~beyond & np.any(clipped[:, 2:] <= clipped[:, :2], axis=1)
    kinds: list[tuple[str, npt.NDArray[np.bool_]]] = [
        ("boxes of finite numbers", ~finite),
        (f"boxes within its {width}x{height} px", beyond),
        ("boxes with a width and a height", empty),
    ]
    faults = []
    for kind, wrong in kinds:
        if count := int(wrong.sum()):
            corners = ", ".join(f"{value:.6g}" for value in boxes[wrong][0])
            faults.append(f"expected {kind}, got x1 y1 x2 y2 = {corners}" + (f" and {count - 1} more" * (count > 1)))
    return clipped, faults


def _wrong_with_copies(group: Sequence[Seen]) -> list[str]:
    """A line for each that has to go; empty for those that stay."""
    first = group[0]
    if any(one.labels() != first.labels() for one in group[1:]):
        others = [group[1], *[first] * (len(group) - 1)]
        return [
            "expected one label for one image, got "
            + ("it listed twice" if _same_file(one, other) else f"{other.item.path}, the same image,")
            + " with another label"
            for one, other in zip(group, others, strict=True)
        ]
    lines, listed = [], set()
    for one in group:
        place = os.path.abspath(one.item.path)
        if place in listed:
            lines.append("expected every image once, got it listed twice")
        elif one.item.side == "val" and first.item.side == "train":  # those to train on come first
            lines.append(f"expected to validate with images not trained on, got a copy of {first.item.path}")
        else:
            lines.append("")
        listed.add(place)
    return lines


def _same_file(a: Seen, b: Seen) -> bool:
    return os.path.abspath(a.item.path) == os.path.abspath(b.item.path)


def _joined(faults: Sequence[str]) -> str:
    more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
    return "; ".join(faults[:_MOST_FAULTS]) + more
