"""Does fine-tuning help? Pretrained weights against random ones in the same time: accuracy, seconds, curves.

    python tests/benchmarks/finetune.py {ants-bees,shapes} -o OUT

Needs EDGEZOO_TEST_DATA (images) and the pretrained weights. `ants-bees`: MobileNetV2 on two kinds of insects. `shapes`:
YOLOX-Nano on stars and crescents, drawn in any colour, size and turn onto photographs among other shapes; no photograph
is on both sides. The pretrained one is then converted, and the bundle evaluated on the same validation images.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
from pathlib import Path

import cv2
import numpy as np

from edgezoo.convert import convert
from edgezoo.engine import Engine
from edgezoo.frame import Image
from edgezoo.measure.evaluate import METRICS, evaluate
from edgezoo.sources.images import find_images, read_image
from edgezoo.train import Request, Watch, finetune
from edgezoo.train.loop import Training
from edgezoo.train.plan import default_plan
from edgezoo.train.report import as_png, new_figure

CLASSES = ("star", "crescent")
LONG_SIDE = 416


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("ants-bees", "shapes"))
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    shared = Path(os.environ["EDGEZOO_TEST_DATA"]) / "data"
    args.out.mkdir(parents=True)
    if args.what == "shapes":
        model, data = "yolox_nano", args.out / "set"
        draw_set(find_images(str(shared / "coco-val-128" / "images")), data)
    else:
        model, data = "mobilenet_v2", shared / "ants-bees"
    trained = {
        name: train(model, data, args.out / name, scratch=scratch)
        for name, scratch in (("pretrained", False), ("random", True))
    }
    (args.out / "curves.png").write_bytes(curves(trained))
    with Engine(convert(args.out / "pretrained" / "card.toml", args.out / "bundle")) as engine:
        found = evaluate(engine, data / "val")
    for name, training in trained.items():
        print(
            f"{name:12}", told(training.best or {}), f"; {sum(row['seconds'] for row in training.history):.0f} s in all"
        )
    print(f"{'bundle':12}", told({name: value for name, value in found.metrics.items() if value is not None}))
    print(args.out / "curves.png")


def told(row: dict[str, float]) -> str:
    metrics = ", ".join(f"{METRICS[name]} {row[name]:.4f}" for name in ("map", "map50", "top1") if name in row)
    return metrics + (f" at epoch {row['epoch']:.0f}" if "epoch" in row else "")


class Rows(Watch):
    def epoch(self, row: dict[str, float], better: bool) -> None:
        print(json.dumps({name: round(value, 5) for name, value in row.items()}), flush=True)


def train(model: str, data: Path, out: Path, *, scratch: bool) -> Training:
    """By the default plan, to its end."""
    task = "detect" if model.startswith("yolox") else "classify"
    plan = dataclasses.replace(default_plan(task, pretrained=not scratch), patience=0)
    return finetune(Request(model=model, data=data, out=out, plan=plan, scratch=scratch), Rows())


def curves(trained: dict[str, Training]) -> bytes:
    figure, (axes,) = new_figure(1, (7, 4.2))
    for color, (name, training) in zip(("C0", "C1"), trained.items()):
        minutes = [second / 60 for second in itertools.accumulate(row["seconds"] for row in training.history)]
        for metric, style in (("top1", "-"), ("map50", "-"), ("map", ":")):
            if metric in training.history[0]:
                values = [row[metric] for row in training.history]
                axes.plot(minutes, values, style, color=color, marker=".", label=f"{METRICS[metric]}, {name} weights")
    axes.set(xlabel="minutes on two CPU cores", ylim=(0, 1.02), title="validation images")
    axes.legend(frameon=False)
    return as_png(figure)


def draw_set(photos: list[str], out: Path, *, seed: int = 0) -> None:
    """A set in COCO form: of four photographs three are to train on."""
    rng = np.random.default_rng(seed)
    for side, chosen in (
        ("train", [p for k, p in enumerate(photos) if k % 4]),
        ("val", [p for k, p in enumerate(photos) if k % 4 == 0]),
    ):
        (out / side / "images").mkdir(parents=True)
        images, annotations = [], []
        for index, photo in enumerate(chosen, 1):
            image = read_image(photo)
            scale = LONG_SIDE / max(image.shape[:2])
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            image, found = draw_shapes(image, rng)
            name = f"{index:03}.jpg"
            cv2.imwrite(str(out / side / "images" / name), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
            images.append({"id": index, "file_name": name, "width": image.shape[1], "height": image.shape[0]})
            annotations += [
                {"image_id": index, "category_id": class_id, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
                for class_id, box in found
            ]
        content = {
            "images": images,
            "annotations": [{"id": k, **row} for k, row in enumerate(annotations, 1)],
            "categories": [{"id": k, "name": name} for k, name in enumerate(CLASSES)],
        }
        (out / side / "annotations.json").write_text(json.dumps(content))


def draw_shapes(image: Image, rng: np.random.Generator) -> tuple[Image, list[tuple[int, list[float]]]]:
    """Stars, crescents and, to be left alone, other shapes; none over another."""
    height, width = image.shape[:2]
    taken = np.zeros((height, width), bool)
    found = []
    for _ in range(rng.integers(3, 8)):
        kind = int(rng.integers(5))
        radius = float(np.exp(rng.uniform(np.log(12), np.log(60))))
        center = rng.uniform((radius, radius), (max(width - radius, radius + 1), max(height - radius, radius + 1)))
        mask = shape(kind, center, radius, rng.uniform(0, 2 * np.pi), (height, width), rng)
        rows, columns = np.nonzero(mask > 127)
        if not len(rows) or taken[mask > 0].any():
            continue
        taken |= mask > 0
        color = rng.uniform(0, 255, 3)
        part = mask[..., None] / 255 * rng.uniform(0.75, 1)
        image = np.clip(image * (1 - part) + (color + rng.normal(0, 8, image.shape)) * part, 0, 255).astype(np.uint8)
        if kind < len(CLASSES):
            x, y = float(columns.min()), float(rows.min())
            found.append((kind, [x, y, float(columns.max()) + 1 - x, float(rows.max()) + 1 - y]))
    return image, found


def shape(
    kind: int, center: np.ndarray, radius: float, angle: float, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """A mask: 0 star, 1 crescent, 2 disc, 3 triangle, 4 square."""
    mask = np.zeros(size, np.uint8)

    def polygon(corners: int, inner: float = 1.0) -> None:
        turns = angle + np.arange(corners) * 2 * np.pi / corners
        reach = radius * np.where(np.arange(corners) % 2, inner, 1.0)
        points = center + np.stack([np.cos(turns), np.sin(turns)], -1) * reach[:, None]
        cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)

    if kind == 0:
        polygon(10, rng.uniform(0.4, 0.5))
    elif kind in (1, 2):
        cv2.circle(mask, tuple(int(v * 16) for v in center), int(radius * 16), 255, -1, cv2.LINE_AA, shift=4)
        if kind == 1:
            bite = center + radius * 0.5 * np.array([np.cos(angle), np.sin(angle)])
            cv2.circle(mask, tuple(int(v * 16) for v in bite), int(radius * 13), 0, -1, cv2.LINE_AA, shift=4)
    else:
        polygon(kind)
    return mask


if __name__ == "__main__":
    main()
