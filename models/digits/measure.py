"""How good is a digits bundle? On rendered scenes, by digit and by kind; and a sheet of its worst failures.

    python models/digits/measure.py BUNDLE SCENES -o OUT

SCENES is a set that `render.py` made, OUT gets `measured.json` and `worst.png`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgezoo.engine import Engine
from edgezoo.frame import Image
from edgezoo.geometry import iou
from edgezoo.measure.evaluate import evaluate
from edgezoo.results import Detections
from edgezoo.sources.images import read_image
from edgezoo.train.report import sheet

SURE = 0.5
"""A digit is found where a box of this score or more overlaps it by half and names it."""
WORST, TILE = 20, 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with Engine(args.bundle, score=SURE) as engine:
        told = evaluate(engine, args.scenes).to_dict()
        scenes = list(compare(engine, args.scenes))
    measured = {**told, "score_0.5": summary(scenes)}
    (args.out / "measured.json").write_text(json.dumps(measured, indent=1) + "\n")
    worst = sorted(scenes, key=lambda scene: -(len(scene["missed"]) + len(scene["false"])))[:WORST]
    (args.out / "worst.png").write_bytes(sheet([drawn(scene) for scene in worst], columns=5))
    print(json.dumps(measured, indent=1))


def compare(engine: Engine, folder: Path) -> Any:
    """Every scene with what was missed there and what was found that is not there."""
    content = json.loads((folder / "annotations.json").read_text())
    there: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for box in content["annotations"]:
        there[box["image_id"]].append(box)
    for image in content["images"]:
        path = folder / "images" / image["file_name"]
        found = engine(path)
        assert isinstance(found, Detections)
        boxes = there[image["id"]]
        matched = match(boxes, found)
        yield {
            "path": path,
            "boxes": boxes,
            "missed": [box for k, box in enumerate(boxes) if k not in matched],
            "false": [found[k] for k in range(len(found)) if k not in matched.values()],
        }


def match(boxes: list[dict[str, Any]], found: Detections) -> dict[int, int]:
    """Which detection, best first, is which digit."""
    matched: dict[int, int] = {}
    for k, (box, class_id) in enumerate(zip(found.boxes_xyxy, found.class_ids)):
        for j, truth in enumerate(boxes):
            x, y, width, height = truth["bbox"]
            same = class_id == truth["category_id"]
            if j not in matched and same and iou(box, np.array([x, y, x + width, y + height], np.float32)) >= 0.5:
                matched[j] = k
                break
    return matched


def summary(scenes: list[dict[str, Any]]) -> dict[str, Any]:
    """Recall by kind and by height, and false digits a scene."""
    every, missed = Counter[str](), Counter[str]()
    for scene in scenes:
        for counter, boxes in ((every, scene["boxes"]), (missed, scene["missed"])):
            counter.update(word for box in boxes for word in ("all", box["kind"], height_of(box)))
    false = sum(len(scene["false"]) for scene in scenes)
    recall = {word: round(1 - missed[word] / count, 4) for word, count in sorted(every.items())}
    return {"recall": recall, "digits": every["all"], "false_per_scene": round(false / len(scenes), 4)}


def height_of(box: dict[str, Any]) -> str:
    """In network pixels: scenes are rendered half as large again."""
    height = box["bbox"][3] / 1.5
    return "12 to 16 px" if height < 16 else "16 to 32 px" if height < 32 else "over 32 px"


def drawn(scene: dict[str, Any]) -> Image:
    """Missed digits in red, false ones in yellow, at the size of a tile."""
    image = read_image(scene["path"])
    scale = TILE / max(image.shape[:2])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    for box in scene["missed"]:
        x, y, width, height = (int(side * scale) for side in box["bbox"])
        mark(image, (x, y, x + width, y + height), str(box["category_id"]), (0, 0, 255))
    for found in scene["false"]:
        for name, score, box in found:
            mark(image, tuple(int(side * scale) for side in box), f"{name} {score:.2f}", (0, 255, 255))
    return image


def mark(image: Image, box: tuple[int, ...], text: str, color: tuple[int, int, int]) -> None:
    cv2.rectangle(image, box[:2], box[2:], color, 1)
    cv2.putText(image, text, (box[0], max(10, box[1] - 2)), cv2.FONT_HERSHEY_SIMPLEX, 0.4, color, 1, cv2.LINE_AA)


if __name__ == "__main__":
    main()
