"""The part of `convert` about lower precisions: what may be asked for, and what a person sees of what came of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgezoo.cli import proof, show
from edgezoo.errors import RequestError

if TYPE_CHECKING:
    from edgezoo.convert.candidates import Outcome, Terms

_NAMED = 4  # layers in float that are told by name; the recipe has them all


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        metavar="NAMES",
        default="fp32",
        help="artifacts to make, with commas between: fp32, fp16, bf16, int8 (for every runtime), int8-onnxruntime, "
        "int8-openvino, int8-tensorrt (default: fp32)",
    )
    group = parser.add_argument_group("lower precisions: written where they hold the budget, else not")
    group.add_argument(
        "--max-drop", metavar="POINTS", type=float, default=1.0, help="the budget against fp32 (default: 1.0)"
    )
    group.add_argument(
        "--data", metavar="DIR", type=Path, help="labelled images to judge by, as for eval; without: agreement"
    )
    group.add_argument(
        "--calibration",
        metavar="WHAT",
        help="images to calibrate with: a set's name, folder, pattern or video (default: the model's set, or --data)",
    )
    group.add_argument("--calibration-images", metavar="N", type=int, help="how many of them (default: 40)")
    group.add_argument("--seed", metavar="N", type=int, default=0, help="which of them (default: 0)")
    group.add_argument(
        "--method", metavar="NAME", help="how ranges are taken: error, average, percentile, entropy, minmax"
    )
    group.add_argument(
        "--ranges", metavar="FILE.json", type=Path, help="keep the calibration there, or use it where nothing changed"
    )
    group.add_argument(
        "--search",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="find layers to leave in float where INT8 alone is over the budget (default: yes)",
    )
    group.add_argument(
        "--search-minutes", metavar="M", type=float, default=10.0, help="for each artifact at most (default: 10)"
    )
    group.add_argument("--recipe", metavar="FILE.toml", type=Path, help="make the artifact of a recipe again")
    group.add_argument(
        "--tensorrt", metavar="VERSION", default="10", help="the oldest for int8-tensorrt: 8.6, 10, 11 (default: 10)"
    )
    group.add_argument("--keep-slower", action="store_true", help="write also what is slower than fp32 here")


def precisions(args: argparse.Namespace) -> list[str]:
    """The names asked for, without fp32. Raises RequestError, UnknownName."""
    from edgezoo.convert.reduce import full_names

    names = [name.strip() for name in args.precision.split(",") if name.strip()]
    if not names:
        raise RequestError(f"expected --precision as names with commas between, got {args.precision!r}")
    return full_names([name for name in names if name != "fp32"])


def terms(args: argparse.Namespace) -> Terms:
    """Raises RequestError, UnknownName, ConvertError."""
    from edgezoo.convert.candidates import IMAGES, Terms
    from edgezoo.convert.int8.calibrate import METHODS
    from edgezoo.convert.recipe import read_recipe

    recipe = read_recipe(args.recipe) if args.recipe else None
    methods = (args.method,) if args.method else (METHODS[:1] if args.ranges else METHODS)
    return Terms(
        max_drop=args.max_drop,
        data=args.data,
        source=args.calibration or (recipe.calibration if recipe else None),
        images=args.calibration_images or (recipe.images if recipe else IMAGES),
        seed=recipe.seed if recipe else args.seed,
        methods=methods,
        ranges=args.ranges,
        minutes=args.search_minutes if args.search else 0.0,
        tensorrt=args.tensorrt if recipe is None else recipe.tensorrt or args.tensorrt,
        keep_slower=args.keep_slower,
        recipe=recipe,
    )


def tell(outcomes: Sequence[Outcome], folder: str) -> None:
    """A line or two an artifact; for what was refused, all that was tried."""
    for outcome in outcomes:
        mark = "[green]✓[/]" if outcome.artifact else "[red]✗[/]"
        head = f"{mark} [bold]{outcome.name}[/]"
        show.out.print(f"{head}  {show.plain(outcome.why or _short_speed(outcome.speed))}", soft_wrap=True)
        for judged in outcome.judgements[-1:]:
            calibrated = outcome.chosen is not None
            show.out.print(f"  {show.plain(proof.judgement(judged.to_dict(), calibrated=calibrated))}", soft_wrap=True)
        if outcome.chosen is not None and outcome.artifact is not None:
            show.out.print(f"  {show.plain(_floats(outcome))}", soft_wrap=True)
            show.out.print(f"  [dim]recipe {show.plain(folder)}/{outcome.name}.toml", soft_wrap=True)
        if outcome.artifact is None and outcome.search is not None:
            _print_tried(outcome)


def _short_speed(speed: dict[str, Any]) -> str:
    if not speed:
        return "speed unmeasured: its runtime is not here"
    return f"{speed['ratio']:.2f} times as fast as fp32 on {speed['backend']}: {speed['ms']:.2f} ms"


def _floats(outcome: Outcome) -> str:
    trial, search = outcome.chosen, outcome.search
    assert trial is not None
    named = ", ".join(trial.floats[:_NAMED]) + (", …" if len(trial.floats) > _NAMED else "")
    left = f"{len(trial.floats)} layers in float ({named})" if trial.floats else "every layer in INT8"
    took = f", found in {search.seconds:.0f} s" if search else ""
    return f"{left}, ranges by {trial.method}{took}"


def _print_tried(outcome: Outcome) -> None:
    assert outcome.search is not None
    table = show.table(
        "ranges by", "layers in float", "harm", "drop, points", right=("layers in float", "harm", "drop, points")
    )
    for trial in outcome.search.trials:
        table.add_row(trial.method, str(len(trial.floats)), f"{trial.harm:.3g}", f"{trial.drop:.2f}")
    show.out.print(table)
    for judged in outcome.judgements:
        show.out.print(f"  gate: {show.plain(proof.judgement(judged.to_dict()))}", soft_wrap=True)
