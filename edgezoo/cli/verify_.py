"""`edgezoo verify`"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgezoo.bundle import Bundle
from edgezoo.cli import options, show
from edgezoo.errors import RequestError

HELP = "Replay a bundle's golden images on this device, or compare what it sees with what your training code sees."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="its folder")
    options.add_runtime(parser)
    group = parser.add_argument_group("against your training code (no network is run)")
    group.add_argument(
        "--like",
        metavar="TENSOR|SCRIPT",
        help="name the field of the input recipe that makes a tensor of yours (.npy, .npz with image_0, …) different; "
        "or give a .py that defines preprocess(image), BGR uint8 (H, W, 3) to tensor: its code is run, in this process",
    )
    group.add_argument("--golden", type=int, metavar="K", help="the golden image that it was made of (default: 0)")
    group.add_argument("--image", metavar="FILE", help="the image that it was made of, if not a golden one")
    group.add_argument(
        "--golden-images", type=Path, metavar="DIR", help="write the golden images as PNG, for your code to read"
    )
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    if args.golden_images is not None:
        return _write_images(args)
    if args.like is not None:
        return _compare(args)
    if args.golden is not None or args.image is not None:
        raise RequestError("expected --like with --golden or --image; try --like reference.npy")
    return _replay(args)


def _replay(args: argparse.Namespace) -> int:
    from edgezoo.measure.verify import verify

    bundle = Bundle.open(args.bundle)
    options.settle(args, bundle)
    found = verify(bundle, backend=args.backend, device=args.device, precision=args.precision, threads=args.threads)
    if args.json:
        show.print_json(found.to_dict())
        return 0 if found.ok else 1
    table = show.table("", "largest difference", "tolerated", "", right=("largest difference", "tolerated"))
    geometry = found.geometry
    levels = f"{geometry.largest_levels} grey levels"
    table.add_row("geometry", levels, f"{geometry.tolerance_levels}", _mark(geometry.ok))
    for name, answer in found.answers.items():
        table.add_row(
            show.plain(name.replace("_", " ")), f"{answer.largest:.2g}", f"{answer.tolerance:.2g}", _mark(answer.ok)
        )
    show.out.print(table)
    runs = found.runs
    how = f"{runs['backend']} {runs['version']} on {runs['device']}, OpenCV {geometry.opencv}"
    show.out.print(f"{_mark(found.ok)} {found.images} golden images, {show.plain(how)}")
    return 0 if found.ok else 1


def _compare(args: argparse.Namespace) -> int:
    from edgezoo.cli.like import print_compared
    from edgezoo.measure.likeness.references import compare

    if args.golden is not None and args.image is not None:
        raise RequestError("expected --golden or --image, got both; leave one out")
    with show.steps() as (step, _):
        step("comparing")
        found = compare(args.bundle, args.like, golden=args.golden, image=args.image)
    if args.json:
        show.print_json(found.to_dict())
    else:
        print_compared(found)
    return 0 if found.ok else 1


def _write_images(args: argparse.Namespace) -> int:
    from edgezoo.measure.likeness.references import write_golden_images

    if args.like is not None or args.golden is not None or args.image is not None:
        raise RequestError("expected --golden-images alone: it only writes; leave out --like, --golden and --image")
    written = write_golden_images(args.bundle, args.golden_images)
    if args.json:
        show.print_json({"images": [str(path) for path in written]})
        return 0
    for path in written:
        show.out.print(f"[green]✓[/] {show.plain(show.short(path))}", soft_wrap=True)
    bundle, like = show.plain(args.bundle), "--like reference.npy"
    show.out.print(f"  save what your code makes of golden_0.png, then: edgezoo verify {bundle} {like}", soft_wrap=True)
    return 0


def _mark(good: bool) -> str:
    return "[green]✓[/]" if good else "[red]✗ differs[/]"
