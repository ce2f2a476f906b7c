"""`edgezoo convert`"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgezoo.cards import read_card
from edgezoo.cli import options, show

HELP = "Convert a model to a bundle that runs anywhere, and measure that it still answers like the original."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a name of the zoo, a card.toml, or an .onnx")
    parser.add_argument(
        "-o", "--out", metavar="DIR", type=Path, help="the bundle's folder (default: the model's name, here)"
    )
    parser.add_argument(
        "--weights", metavar="FILE", type=Path, help="a checkpoint (.pth, .safetensors) or .onnx of your own"
    )
    parser.add_argument("--labels", metavar="FILE", type=Path, help="class names of your own, one a line")
    parser.add_argument("--size", type=options.size, metavar="WxH", help="the network's input size in pixels")
    parser.add_argument(
        "--batch", metavar="N|dynamic", type=_batch, help="batch size (default: dynamic where that can be proved)"
    )
    parser.add_argument(
        "--images", metavar="DIR", type=Path, help="measure the agreement on up to 16 photos of this folder"
    )
    parser.add_argument(
        "--allow", choices=("permissive",), help="refuse models whose code or weights are not under such a licence"
    )
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from edgezoo.convert import convert

    if args.allow and not args.model.endswith(".onnx"):
        read_card(args.model).check_allowed(args.allow)
    with show.steps() as (step, tell):
        bundle = convert(
            args.model,
            args.out or Path(Path(args.model).stem),
            weights=args.weights,
            labels=args.labels,
            size_wh=args.size,
            batch=args.batch,
            images=_photos(args.images) if args.images else (),
            step=step,
            progress=tell,
        )
    manifest = bundle.manifest
    artifact = manifest.artifacts[0]
    if args.json:
        show.print_json(
            {
                "bundle": str(bundle.folder),
                "name": manifest.name,
                "precision": artifact.precision,
                "batch": manifest.batch or "dynamic",
                "agreement": artifact.agreement,
            }
        )
        return 0
    agreement = dict(artifact.agreement)
    against, images, kind = agreement.pop("against"), agreement.pop("images"), agreement.pop("kind")
    batches = agreement.pop("batches", None)
    told = ", ".join(
        f"{name.replace('_px', ' (px)').replace('_', ' ')} {value:.2g}" for name, value in agreement.items()
    )
    width, height = manifest.input.size_wh
    sizes = f"any size, proved at {batches}" if batches else f"fixed at {manifest.batch}"
    made = f"{show.plain(manifest.title or manifest.name)}, {width}x{height}, {artifact.precision}"
    folder = show.plain(show.short(bundle.folder))
    show.out.print(f"[green]✓[/] [bold]{folder}[/]  {made}", soft_wrap=True)
    show.out.print(f"  agrees with {against} on {images} {kind}; largest differences: {told}")
    show.out.print(f"  batch: {show.plain(sizes)}")
    show.out.print(f"  [dim]next: edgezoo run {folder} SOURCE", soft_wrap=True)
    return 0


def _batch(text: str) -> int | str:
    if text == "dynamic":
        return text
    if text.isdecimal() and 1 <= int(text) <= 1024:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a batch size of 1 to 1024, or dynamic, got {text!r}")


def _photos(folder: Path) -> list[str]:
    from edgezoo.sources.images import find_images

    return find_images(str(folder))[:16]
