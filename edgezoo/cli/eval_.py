"""`edgezoo eval`"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgezoo.cli import options, show

HELP = "Measure accuracy: COCO mAP of a detector, top-1 and top-5 of a classifier."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a bundle's folder, or a model's name")
    parser.add_argument(
        "--data",
        required=True,
        type=Path,
        metavar="DIR",
        help="a folder with a COCO json; or with labels.csv (file,class_index); or with a folder of images per class",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only N images, spread over the set")
    options.add_runtime(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from edgezoo.measure.evaluate import METRICS, evaluate

    with options.open_engine(args) as engine, show.counting(show.plain(engine.bundle.manifest.name)) as progress:
        found = evaluate(engine, args.data, limit=args.limit, progress=progress)
        told = f"{engine.bundle.manifest.name} {engine.artifact.name}, {engine.runs}"
    if args.json:
        show.print_json(found.to_dict())
        return 0
    table = show.table("metric", "%", right=("%",))
    for name, value in found.metrics.items():
        table.add_row(
            METRICS.get(name, name.replace("map_", "mAP, ")), "no such box" if value is None else f"{100 * value:.1f}"
        )
    show.out.print(table)
    protocol = ", ".join(f"{name} {value}" for name, value in found.protocol.items())
    show.out.print(
        f"{found.images} images of {show.plain(show.short(args.data))}; {show.plain(protocol)}", soft_wrap=True
    )
    show.out.print(f"[dim]{show.plain(told)}; {found.seconds:.1f} s")
    return 0
