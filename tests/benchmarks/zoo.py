"""Measures the zoo on this machine: writes models/measured.json, models/README.md and the table of the README.

    python tests/benchmarks/zoo.py --coco DIR --imagenet DIR --scenes DIR [--only NAME ...]

Every model is converted from its official checkpoint where that is to be had (`EDGEZOO_MIRROR`, the cache, the
network), and then evaluated; where not, it is timed with seeded random weights, which cost the same arithmetic, and its
accuracy is left out. What is built in is evaluated on the scenes that its recipe renders. Times are
of the bare engine, one image; threads take turns, block by block; medians.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from edgezoo import cards
from edgezoo.cli.list_ import markdown
from edgezoo.convert import convert
from edgezoo.engine import Engine
from edgezoo.errors import WeightsError
from edgezoo.machine import machine
from edgezoo.measure.evaluate import evaluate
from edgezoo.weights import fetch

ROOT = Path(__file__).parents[2]
BLOCKS, RUNS, THREADS = 9, 15, (1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coco", type=Path, required=True)
    parser.add_argument("--imagenet", type=Path, required=True)
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=cards.names(), help="the others keep what was measured")
    args = parser.parse_args()
    sets = {"detect": args.coco, "classify": args.imagenet}
    rows = json.loads((ROOT / "models" / "measured.json").read_text("utf-8"))["models"]
    for name in args.only:
        card = cards.read_card(name)
        rows[name] = measure(card, args.scenes if card.bundle else sets[card.task])
        print(name, rows[name])
    told = {"machine": machine(), "date": str(datetime.date.today()), "models": rows}
    (ROOT / "models" / "measured.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    table = markdown()
    (ROOT / "models" / "README.md").write_text(f"# The zoo\n\n{table}", "utf-8")
    readme = ROOT / "README.md"
    text = re.sub(
        r"(<!-- zoo:.*?-->\n).*?(<!-- /zoo -->)", rf"\1\n{table}\n\2", readme.read_text("utf-8"), flags=re.DOTALL
    )
    readme.write_text(text, "utf-8")


def measure(card: cards.Card, data: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        weights, real = checkpoint(card, Path(folder))
        bundle = convert(card.name, Path(folder) / "bundle", weights=weights)
        parameters = sum(value.numel() for value in network(card).parameters())
        row: dict[str, Any] = {
            "parameters": parameters,
            "bytes": (bundle.folder / bundle.artifact().file).stat().st_size,
            "weights": "official key layout" if real else "random",
            "ms": timed(bundle),
        }
        if real:
            with Engine(bundle) as engine:
                found = evaluate(engine, data)
            key, metric = ("map", "mAP50-95") if card.task == "detect" else ("top1", "top-1")
            row["accuracy"] = {"metric": metric, "value": found.metrics[key], "images": found.images}
        return row


def network(card: cards.Card) -> torch.nn.Module:
    assert card.network is not None
    torch.manual_seed(0)
    family = importlib.import_module(f"edgezoo.nets.{card.network.family}")
    net: torch.nn.Module = family.build(classes=len(card.label_names), **card.network.options)
    return net


def checkpoint(card: cards.Card, folder: Path) -> tuple[Path, bool]:
    """The official checkpoint, or one of random weights."""
    if card.file is not None:
        return card.beside("file", card.file), True
    try:
        assert card.weights is not None
        return fetch(card.weights), True
    except WeightsError:
        path = folder / "random.pth"
        torch.save(network(card).state_dict(), path)
        return path, False


def timed(bundle: Any) -> dict[str, float]:
    """Median milliseconds of a run, by thread count."""
    engines = {threads: Engine(bundle, threads=threads) for threads in THREADS}
    width, height = bundle.manifest.input.size_wh
    blocks: dict[int, list[float]] = {threads: [] for threads in THREADS}
    image = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8).numpy()
    for block in range(BLOCKS + 1):
        for threads in THREADS if block % 2 else reversed(THREADS):
            array, _ = engines[threads].prepare([image])
            times = []
            for _ in range(RUNS):
                began = time.perf_counter()
                engines[threads].infer(array)
                times.append(time.perf_counter() - began)
            if block:  # the first warms up
                blocks[threads].append(statistics.median(times) * 1e3)
            time.sleep(0.1)  # a runtime's threads go on spinning for a while
    for engine in engines.values():
        engine.close()
    return {str(threads): round(statistics.median(values), 2) for threads, values in blocks.items()}


if __name__ == "__main__":
    main()
