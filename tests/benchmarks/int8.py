"""How much faster INT8 is than fp32 on the same runtime, and than what ONNX Runtime's own `quantize_static` makes.

    python tests/benchmarks/int8.py [MODEL ...] [--images FOLDER] [--rounds 15] [--threads 2]

Seeded random weights do for speed where official ones are not to be had. All take turns in one run; figures are medians
of the rounds, with quartiles. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import zoo
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from edgezoo import cards
from edgezoo.bundle import Bundle
from edgezoo.convert import convert, seeded_scenes
from edgezoo.engine import DOOR, Engine
from edgezoo.frame import Image
from edgezoo.machine import OtherLoad, machine
from edgezoo.measure.race import race
from edgezoo.reduce.int8 import emitter, tensors
from edgezoo.reduce.int8.calibrate import calibrate
from edgezoo.reduce.regions import plain
from edgezoo.sources.images import find_images, read_image

MODELS = ("resnet18", "mobilenet_v2", "mobilenet_v3_large")
MOST_IMAGES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--images", metavar="FOLDER", help="to take ranges from (default: drawn scenes)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    images = [read_image(path) for path in find_images(args.images)[:MOST_IMAGES]] if args.images else seeded_scenes()
    load = OtherLoad()
    found = {name: measure(name, images, args.rounds, args.threads) for name in args.models}
    print(json.dumps({"machine": machine(), "others": load.share(), "threads": args.threads, **found}, indent=1))


def measure(name: str, images: list[Image], rounds: int, threads: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        card = cards.read_card(name)
        weights, _ = zoo.checkpoint(card, Path(folder))
        bundle = convert(name, Path(folder) / "bundle", weights=weights)
        placed = [bundle.manifest.input.place(image)[0] for image in images]
        fp32 = stack.enter_context(closing(Engine(bundle, threads=threads)))
        row: dict[str, Any] = {}
        for backend in ("onnxruntime", "openvino"):
            rivals = {"fp32": bundle.read_graph(bundle.artifact())}
            if backend == "onnxruntime":
                rivals["quantize_static"] = stock(bundle, placed, Path(folder))
            graph = ours(bundle, placed, backend)
            engines = [
                stack.enter_context(closing(opened(fp32, text, each, backend)))
                for text, each in {"int8": graph, **rivals}.items()
            ]
            ms, against = race(engines[0], engines[1:], rounds=rounds)
            row[backend] = {"ms": round(ms, 3), "against": [each.to_dict() for each in against]}
        return row


def opened(fp32: Engine, name: str, graph: bytes, backend: str) -> Engine:
    artifact = dataclasses.replace(fp32.artifact, precision=name, target="" if name == "fp32" else backend)
    return fp32.over(graph, artifact, backend=backend)


def ours(bundle: Bundle, placed: list[Image], target: str) -> bytes:
    model = plain(onnx.load_from_string(bundle.read_graph(bundle.artifact())))
    ranges = calibrate(model, placed, tensors(model), method="average")["average"]
    return bytes(emitter(target).emit(model, ranges, ()).SerializeToString())


def stock(bundle: Bundle, placed: list[Image], folder: Path) -> bytes:
    """What `quantize_static` makes by default."""

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds: Iterator[dict[str, Any]] = iter([{DOOR: np.ascontiguousarray(image[None])} for image in placed])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.feeds, None)

    source = bundle.folder / bundle.artifact().file
    quantize_static(source, folder / "stock.onnx", Reader())
    return (folder / "stock.onnx").read_bytes()


if __name__ == "__main__":
    main()
