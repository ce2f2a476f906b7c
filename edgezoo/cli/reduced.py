"""The part of `convert` about lower precisions: what may be asked for, and what a person sees of what came of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgezoo.cli import proof, show
from edgezoo.errors import RequestError

if TYPE_CHECKING:
    from rich.table import Table

    from edgezoo.reduce.recipe import QuantisationRecipe
    from edgezoo.reduce.search import Search, Trial
    from edgezoo.reduce.terms import Outcome, Terms

_NAMED = 72  # letters of names of layers in float; the recipe has them all


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        metavar="NAMES",
        help="artifacts to make, with commas between: fp32, fp16, bf16, int8 (for every runtime), int8-onnxruntime, "
        "int8-openvino, int8-tensorrt (default: fp32)",
    )
    group = parser.add_argument_group("lower precisions: written where they hold the budget, else not")
    group.add_argument(
        "--max-drop",
        metavar="POINTS",
        type=float,
        help="the budget against fp32 (default: 1.0), with --data in points of mAP or top-1; else of agreement: top-1 "
        "as fp32, or AP at IoU 0.5 of what fp32 finds surely, which hardly judges how well boxes fit",
    )
    group.add_argument(
        "--data", metavar="DIR", type=Path, help="labelled images to judge by, as for eval; without: agreement"
    )
    group.add_argument(
        "--calibration",
        metavar="WHAT",
        help="images to calibrate with: a set's name, folder, pattern or video (default: the set named like the model, "
        "else half of --data, else COCO's for its 80 classes)",
    )
    group.add_argument(
        "--calibration-images", metavar="N", type=int, help="how many of them (default: 40, or half of what there is)"
    )
    group.add_argument("--seed", metavar="N", type=int, help="which of them (default: 0)")
    group.add_argument(
        "--method",
        metavar="NAME",
        help="how ranges are taken: error, average, percentile, entropy, minmax (default: the gentlest of all)",
    )
    group.add_argument(
        "--ranges",
        metavar="FILE.json",
        type=Path,
        help="keep the calibration there, or use it where nothing changed; with --method, whose ranges they are",
    )
    group.add_argument(
        "--search",
        action=argparse.BooleanOptionalAction,
        help="find layers to leave in float where INT8 alone is over the budget (default: yes)",
    )
    group.add_argument(
        "--search-minutes",
        metavar="M",
        type=float,
        help="for each artifact's search, judging comes on top (default: 10; 0: no search)",
    )
    group.add_argument("--recipe", metavar="FILE.toml", type=Path, help="make the artifact of a recipe again")
    group.add_argument("--tensorrt", metavar="VERSION", help="the oldest for int8-tensorrt: 8.6, 10, 11 (default: 10)")
    group.add_argument(
        "--keep-slower", action="store_true", default=None, help="write also what is slower than fp32 here"
    )


_OF_REDUCED = (
    "max_drop", "data", "calibration", "calibration_images", "seed", "method", "ranges", "search", "search_minutes",
    "recipe", "tensorrt", "keep_slower",
)  # fmt: skip
_OF_RECIPE = ("calibration_images", "seed", "method", "search", "search_minutes", "tensorrt")

_READ_BY = {
    "method": ("int8", "fp16"),
    "ranges": ("int8", "fp16"),
    "search": ("int8",),
    "search_minutes": ("int8",),
    "tensorrt": ("int8-tensorrt",),
}


def asked(args: argparse.Namespace) -> tuple[list[str], Terms]:
    """The artifacts asked for, without fp32, and on what terms. Raises RequestError, UnknownName, ConvertError."""
    from edgezoo.reduce import check_possible, full_names
    from edgezoo.reduce.recipe import read_recipe

    words = [word.strip() for word in ("fp32" if args.precision is None else args.precision).split(",")]
    if not all(words):
        raise RequestError(f"expected --precision as names with commas between, got {args.precision!r}")
    names = full_names([word for word in words if word != "fp32"])
    recipe = read_recipe(args.recipe) if args.recipe else None
    if recipe is not None:
        made = f"int8-{recipe.target}"
        if given := _given(args, _OF_RECIPE):
            raise RequestError(f"{args.recipe}: a recipe says already what --{given} does; edit a copy of it instead")
        if names and names != [made]:
            raise RequestError(f"{args.recipe}: makes {made}, asked for is {', '.join(names)}; leave out --precision")
        names = [made]
    elif not names and (given := _given(args, _OF_REDUCED)):
        raise RequestError(f"expected --{given} for a lower precision, asked for is fp32; give --precision int8")
    _check_read(args, names)
    if args.ranges and not args.method and recipe is None:
        raise RequestError(f"{args.ranges}: keeps the ranges of one method, got none; give --method, as --method error")
    check_possible(names)
    return names, _terms(args, recipe)


def _check_read(args: argparse.Namespace, names: Sequence[str]) -> None:
    """RequestError for an option that nothing of what is asked for reads."""
    for option, readers in _READ_BY.items():
        read = any(name.startswith(readers) for name in names)
        if names and not read and (given := _given(args, (option,))):
            raise RequestError(
                f"expected --{given} for {' or '.join(readers)}, asked for is {', '.join(names)}; leave it out"
            )


def _given(args: argparse.Namespace, names: Sequence[str]) -> str | None:
    """The first of these options that was given, as it is written."""
    return next((name.replace("_", "-") for name in names if getattr(args, name) is not None), None)


def _terms(args: argparse.Namespace, recipe: QuantisationRecipe | None) -> Terms:
    from edgezoo.reduce.terms import Terms

    wanted: dict[str, Any] = {
        "max_drop": args.max_drop,
        "data": args.data,
        "source": args.calibration,
        "images": args.calibration_images,
        "seed": args.seed,
        "methods": (args.method,) if args.method else None,
        "ranges": args.ranges,
        "minutes": 0.0 if args.search is False else args.search_minutes,
        "tensorrt": args.tensorrt,
        "keep_slower": args.keep_slower,
    }
    if recipe is not None:
        wanted |= {"recipe": recipe, "images": recipe.images, "seed": recipe.seed, "methods": (recipe.method,)}
        wanted |= {"source": args.calibration, "tensorrt": recipe.tensorrt}
    return Terms(**{name: value for name, value in wanted.items() if value is not None})


def tell(outcomes: Sequence[Outcome], folder: str) -> None:
    """A line an artifact and what it rests on; for what was refused, all that was tried."""
    for outcome in outcomes:
        mark = "[green]✓[/]" if outcome.artifact else "[red]✗[/]"
        show.out.print(f"{mark} [bold]{outcome.name}[/]  {show.plain(_verdict(outcome))}", soft_wrap=True)
        for line in _grounds(outcome, folder):
            show.out.print(f"  {show.plain(line)}", soft_wrap=True)
        if outcome.artifact is None and outcome.search is not None:
            show.out.print(_tried(outcome, outcome.search))


def _verdict(outcome: Outcome) -> str:
    if outcome.artifact is None:
        late = outcome.search is not None and outcome.search.out_of_time
        return outcome.why + ("; the search ran out of its time, give it more --search-minutes" if late else "")
    judged, speed = outcome.judgements[-1], outcome.speed
    held = f"drop {judged.drop:.2f} points, {judged.max_drop:g} at most"
    if speed:
        return f"{held}; {speed['ratio']:.2f} times as fast as fp32, {speed['ms']:.2f} ms on {speed['backend']}"
    if outcome.artifact.target in ("", outcome.judged_on):
        return f"{held}; speed unmeasured"
    return f"{held}; speed unmeasured: {outcome.artifact.target} is not here, {outcome.judged_on} ran it"


def _grounds(outcome: Outcome, folder: str) -> Iterator[str]:
    """How it was judged; of what was written, how it was made and what makes it again."""
    for judged in outcome.judgements[-1:]:
        looks = {"looks": len(outcome.judgements)}
        yield proof.judgement({**judged.to_dict(), **looks}, calibrated=outcome.chosen is not None)
    if outcome.artifact is not None and outcome.chosen is not None:
        yield _floats(outcome.chosen, outcome.search)
        beside = (outcome.artifact.recipe, outcome.artifact.picture)
        yield ", ".join(f"{what} {folder}/{it.file}" for what, it in zip(("recipe", "picture"), beside) if it)


def _floats(trial: Trial, search: Search | None) -> str:
    count = len(trial.floats)
    total = f" of {search.layers}" if search else ""
    left = f"{count}{total} {'layer' if count == 1 and not total else 'layers'} in float: {_named(trial.floats)}"
    took = f"; found in {search.seconds:.0f} s" if search else ""
    return f"{left if count else 'every layer in INT8'}; ranges by {trial.method}{took}"


def _named(layers: Sequence[str]) -> str:
    """The first of them, as far as a line goes."""
    shown = [layer for k, layer in enumerate(layers) if not k or len(", ".join(layers[: k + 1])) <= _NAMED]
    return ", ".join([*shown, "…"] if len(shown) < len(layers) else shown)


def _tried(outcome: Outcome, search: Search) -> Table:
    """All sets of layers in float, with what the gate said to those that came that far."""
    right = ("layers in float", "harm", "points lost at least, on calibration images")
    table = show.table("ranges by", *right, "at the gate", right=right)
    gate = {id(trial): judged for trial, judged in zip(search.candidates, outcome.judgements)}
    for trial in search.trials:
        judged = gate.get(id(trial))
        said = "" if judged is None else judged.why or f"{judged.drop:.2f} (95 % {judged.low:.2f} .. {judged.high:.2f})"
        floats = f"{len(trial.floats)} of {search.layers}"
        table.add_row(trial.method, floats, f"{trial.harm:.3g}", f"{trial.drop:.2f}", show.plain(said))
    return table
