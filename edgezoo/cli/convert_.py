"""`edgezoo convert`"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgezoo.bundle import Bundle, is_bundle
from edgezoo.cards import names as zoo_names
from edgezoo.cards import read_card
from edgezoo.cli import options, reduced, show
from edgezoo.errors import BundleError, RequestError

if TYPE_CHECKING:
    from edgezoo.reduce.terms import Outcome

HELP = "Convert a model to a bundle that runs anywhere, and measure that it still answers like the original."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a name of the zoo, a card.toml, an .onnx, or a bundle")
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
    reduced.arguments(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    names, terms = reduced.asked(args)
    if _is_made_already(args, names):
        bundle = _opened(args, names)
    else:
        if args.allow and not args.model.endswith(".onnx"):
            read_card(args.model).check_allowed(args.allow)
        before = _lower(_out(args))
        bundle = _converted(args)
        _tell_of_gone([name for name in before if name not in (*names, *_lower(bundle.folder))], args.model)
        if not args.json:
            _tell(bundle)
    outcomes: list[Outcome] = []
    if names:
        from edgezoo.reduce import reduce

        with show.stages() as progress:
            bundle, outcomes = reduce(bundle, names, terms, out=args.out or bundle.folder, tell=progress)
    folder = show.short(bundle.folder)
    if args.json:
        show.print_json(_to_dict(bundle, outcomes))
    else:
        reduced.tell(outcomes, folder)
        show.out.print(f"  [dim]next: edgezoo run {show.plain(folder)} SOURCE", soft_wrap=True)
    return 0 if all(outcome.artifact for outcome in outcomes) else 1


_OF_FP32 = ("weights", "labels", "size", "batch", "images")


def _is_made_already(args: argparse.Namespace, names: Sequence[str]) -> bool:
    """Whether the model is a bundle, to which artifacts are added.

    Where a bundle bears the name of a model of the zoo, the name is the model's once something is said about fp32.
    """
    if not is_bundle(args.model):
        return False
    about_fp32 = not names or "fp32" in (args.precision or "") or any(getattr(args, name) for name in _OF_FP32)
    return not (about_fp32 and args.model in zoo_names())


def _opened(args: argparse.Namespace, names: Sequence[str]) -> Bundle:
    """A bundle that is there already, of which lower precisions are to be made. Raises RequestError."""
    given = [name for name in _OF_FP32 if getattr(args, name) is not None]
    if given:
        raise RequestError(f"{args.model}: is a bundle, of which --{given[0]} is fixed; convert its model again")
    if not names:
        raise RequestError(f"{args.model}: is a bundle already; to add to it, give --precision int8, fp16 or bf16")
    bundle = Bundle.open(args.model)
    licence = bundle.manifest.licence
    if args.allow and not licence.permissive:
        raise RequestError(f"{args.model}: code {licence.code}, weights {licence.weights}: not permissive")
    return bundle


def _converted(args: argparse.Namespace) -> Bundle:
    from edgezoo.convert import convert

    with show.steps() as (step, tell):
        return convert(
            args.model,
            _out(args),
            weights=args.weights,
            labels=args.labels,
            size_wh=args.size,
            batch=args.batch,
            images=_photos(args.images) if args.images else (),
            step=step,
            progress=tell,
        )


def _out(args: argparse.Namespace) -> Path:
    return args.out or Path(Path(args.model).stem)


def _lower(folder: Path) -> list[str]:
    """The lower precisions of a bundle that is there and whole."""
    with suppress(BundleError):
        return [artifact.name for artifact in Bundle.open(folder).manifest.artifacts if artifact.name != "fp32"]
    return []


def _tell_of_gone(names: Sequence[str], model: str) -> None:
    if names:
        made = f"{', '.join(names)}: made of another fp32 graph than this one, and gone"
        again = f"edgezoo convert {shlex.quote(model)} --precision fp32,{','.join(names)}"
        show.err.print(f"[yellow]{show.plain(made)}[/]; to make again: {show.plain(again)}", soft_wrap=True)


def _to_dict(bundle: Bundle, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    manifest, fp32 = bundle.manifest, bundle.artifact()
    told: dict[str, Any] = {
        "bundle": str(bundle.folder),
        "name": manifest.name,
        "precision": fp32.precision,
        "batch": manifest.batch or "dynamic",
        "agreement": fp32.agreement,
    }
    return {**told, "artifacts": [outcome.to_dict() for outcome in outcomes]} if outcomes else told


def _tell(bundle: Bundle) -> None:
    manifest, artifact = bundle.manifest, bundle.artifact()
    agreement = dict(artifact.agreement)
    against, images, kind = agreement.pop("against"), agreement.pop("images"), agreement.pop("kind")
    batches = agreement.pop("batches", None)
    told = ", ".join(
        f"{name.replace('_px', ' (px)').replace('_', ' ')} {value:.2g}" for name, value in agreement.items()
    )
    width, height = manifest.input.size_wh
    sizes = f"any size, proved at {batches}" if batches else f"fixed at {manifest.batch}"
    made = f"{show.plain(manifest.title or manifest.name)}, {width}x{height}, {show.plain(artifact.name)}"
    show.out.print(f"[green]✓[/] [bold]{show.plain(show.short(bundle.folder))}[/]  {made}", soft_wrap=True)
    show.out.print(f"  agrees with {show.plain(against)} on {images} {kind}; largest differences: {show.plain(told)}")
    show.out.print(f"  batch: {show.plain(sizes)}")


def _batch(text: str) -> int | str:
    if text == "dynamic":
        return text
    if text.isdecimal() and 1 <= int(text) <= 1024:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a batch size of 1 to 1024, or dynamic, got {text!r}")


def _photos(folder: Path) -> list[str]:
    from edgezoo.sources.images import find_images

    return find_images(str(folder))[:16]
