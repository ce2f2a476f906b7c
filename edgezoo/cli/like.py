"""What a person sees of `edgezoo verify --like`."""

from __future__ import annotations

from edgezoo.cli import show
from edgezoo.measure.likeness import Likeness, far
from edgezoo.measure.likeness.differences import Difference
from edgezoo.measure.likeness.references import Compared


def print_compared(found: Compared) -> None:
    """How far every image is, the verdict, and what to do about it."""
    likeness = found.likeness
    table = show.table("", "image", "largest difference", "", right=("largest difference",))
    for name, apart in zip(found.names, likeness.apart):
        width, height = apart.size_wh
        table.add_row(show.plain(name), f"{width}x{height}", f"{apart.largest:.3g}", _levels(apart.largest_levels))
    show.out.print(table)
    if likeness.same:
        _same(found)
    elif likeness.explanations:
        _different(found)
    else:
        _say("[red]✗[/] no change of the recipe explains it")
        if found.rather is not None:
            _say(f"  it is made of golden image {found.rather}; try --golden {found.rather}")
        else:
            _say(f"  nearest: {show.plain(likeness.nearest_says)}")


def _same(found: Compared) -> None:
    rounding = "" if found.likeness.explanations[0].exact else ", within what libraries round differently"
    _say(f"[green]✓ the same[/] as what {show.plain(found.bundle)} sees{rounding}")
    if found.likeness.unproved:
        _say(f"  [yellow]not proved:[/] {', '.join(found.likeness.unproved)}; {_these(found)} would look the same")
        _say(f"  {_telling(found)}")


def _different(found: Compared) -> None:
    told = found.likeness.differences()
    for k, differences in enumerate(told):
        if k:
            _say("  or")
        for difference in differences:
            _say(f"[red]✗[/] [bold]{difference.field}:[/] {show.plain(difference.says)}")
    if len(told) > 1:
        _say(f"  {_these(found)} cannot tell which; {_telling(found)}")
        return
    left = found.likeness.explanations[0]
    near = "the same" if left.exact else f"within {left.left_levels:.2g} grey levels, as libraries round"
    _say(f"  with that, {'it is' if len(found.names) == 1 else 'all are'} {near}")
    _say(f"  {_cure(told[0], found.likeness)}")


def _cure(differences: tuple[Difference, ...], likeness: Likeness) -> str:
    if likeness.instead is not None:
        near = likeness.instead
        lines = [line for each in likeness.changes(near) for line in each.card]
        what = _card(lines) if lines else "the recipe as it is"
        return f"a card cannot say this; {what} comes nearest, {far(near)}"
    if any(each.field == "layout" for each in differences):
        return "a bundle takes images and sees to the layout itself; the comparison went on with the layout put right"
    lines = [line for each in differences for line in each.card]
    return f"if the reference is right, put {_card(lines)} under \\[input] of the card, and convert again"


def _card(lines: list[str]) -> str:
    return f"[cyan]{show.plain(', '.join(dict.fromkeys(lines)))}[/]"


def _telling(found: Compared) -> str:
    if found.telling:
        return f"golden image {' or '.join(map(str, found.telling[:3]))} would tell: --golden {found.telling[0]}"
    return "a photo of another shape, with colours and detail, would tell: --image FILE"


def _these(found: Compared) -> str:
    return "this image" if len(found.names) == 1 else "these images"


def _levels(levels: float) -> str:
    return "[green]exact[/]" if levels == 0 else f"[dim]{levels:.3g} grey levels[/]"


def _say(line: str) -> None:
    show.out.print(line, soft_wrap=True)
