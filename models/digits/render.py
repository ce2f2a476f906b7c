"""Renders the scenes that the digits model is trained and tested with, as COCO data sets.

    python models/digits/render.py OUT [--train 9000] [--val 400] [--test 1000] [--seed 0]

Writes OUT/train, OUT/val and OUT/test, each with images/NNNNN.jpg and annotations.json; a part that is complete, and
that these very files would make again, is kept. Needs "edgezoo[digits]", the fonts of `fonts.toml` and the photographs
of `backgrounds.py`; exit code 3: some are missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import backgrounds
import cv2
import fonts
import scene
from fonts import Split
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

HERE = Path(__file__).parent
OTHERS = ("make.py", "measure.py", "clip.py", "calibrate.py", "plan.toml", "plan_last.toml")
"""What renders no scene."""
NARROWEST = 0.4
"""Width of a box over its height. A plain 1 would have a box of three pixels, of which half is soon missed."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the scenes of the digits model.")
    parser.add_argument("out", type=Path)
    for split, count in (("train", 9000), ("val", 400), ("test", 1000)):
        parser.add_argument(f"--{split}", type=int, default=count, help=f"scenes (default {count})")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        fonts.all_faces()
        for split in scene.SPLITS:
            backgrounds.photos(split)
    except (fonts.MissingFonts, backgrounds.MissingPhotos) as missing:
        parser.exit(3, f"{missing}\n")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    spawn = multiprocessing.get_context("spawn")  # a fork of OpenCV's threads waits for ever
    with spawn.Pool(os.cpu_count(), cv2.setNumThreads, (1,)) as pool, Progress(*columns) as progress:
        for split in scene.SPLITS:
            _render(arguments.out / split, split, getattr(arguments, split), arguments.seed, pool.imap, progress)


def _render(folder: Path, split: Split, count: int, seed: int, imap: Callable[..., Any], progress: Progress) -> None:
    task = progress.add_task(split, total=count)
    listing = folder / "annotations.json"
    made = {"count": count, "seed": seed, "recipe": recipe()}
    if listing.is_file() and json.loads(listing.read_text()).get("info") == made:
        progress.update(task, completed=count)
        return
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image, found in imap(partial(_one, folder, split, seed), range(count), 8):
        images.append(image)
        annotations += [{"id": len(annotations) + i + 1, **one} for i, one in enumerate(found)]
        progress.advance(task)
    categories = [{"id": i, "name": str(i)} for i in range(10)]
    # Written last and renamed at once: a part with a listing is complete.
    draft = listing.with_suffix(".part")
    content = {"info": made, "images": images, "annotations": annotations, "categories": categories}
    draft.write_text(json.dumps(content))
    draft.replace(listing)


def recipe() -> str:
    """SHA-256 over all that decides how a scene looks, libraries aside."""
    files = [path for path in sorted(HERE.iterdir()) if path.suffix in (".py", ".toml") and path.name not in OTHERS]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def _one(folder: Path, split: Split, seed: int, index: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Renders and saves scene `index`; its entry and those of its digits in COCO's form."""
    drawn = scene.render((seed, index), split)
    name = f"{index:05d}.jpg"
    cv2.imwrite(str(folder / "images" / name), drawn.image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    height, width = drawn.image.shape[:2]
    found = []
    for ink, class_id, kind in zip(drawn.boxes_xyxy.tolist(), drawn.class_ids.tolist(), drawn.kinds):
        x1, y1, x2, y2 = roomy(ink, width)
        w, h = x2 - x1, y2 - y1
        box = [round(v, 2) for v in (x1, y1, w, h)]
        found.append(
            {"image_id": index, "category_id": class_id, "bbox": box, "area": w * h, "iscrowd": 0, "kind": kind}
        )
    return {"id": index, "file_name": name, "width": width, "height": height}, found


def roomy(ink_xyxy: list[float], width: int) -> tuple[float, float, float, float]:
    """The box of a digit: that of its ink, but no narrower than `NARROWEST`, within an image of this width."""
    x1, y1, x2, y2 = ink_xyxy
    more = max(0.0, NARROWEST * (y2 - y1) - (x2 - x1)) / 2
    return max(0.0, x1 - more), y1, min(float(width), x2 + more), y2


if __name__ == "__main__":
    main()
