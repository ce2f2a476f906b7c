"""What is different, in words: the field, what the reference does, what the recipe says, and the lines for a card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgezoo.measure.likeness.guesses import OTHERS, OWN
from edgezoo.measure.likeness.solving import Floats
from edgezoo.measure.likeness.supposing import Found
from edgezoo.preprocess import Preprocess

ORDER = ("layout", "color", "fit", "align", "crop", "interpolation", "pad", "scale", "mean", "std")
_PLACES = {"top-left": "top-left", "center": "in the center"}
_DOES = {"stretch": "stretches", "letterbox": "letterboxes", "crop": "crops"}
_QUIRKS: dict[str, tuple[str, str]] = {
    "rounded": ("rounds a letterbox's size to the nearest pixel", "rounds it down"),
    "resized-first": ("crops after the resize", "crops before it"),
}
_ALIKE = 0.1  # grey levels


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One field."""

    field: str
    reference: Any
    """The value that explains the reference."""
    recipe: Any
    says: str
    """`the reference is RGB, the recipe says BGR`"""
    card: tuple[str, ...] = ()
    """Lines for a card's [input] that would make the bundle do as the reference does; none where no card can say it."""


def differences(recipe: Preprocess, found: Found) -> tuple[Difference, ...]:
    """All that `found` changes, in the order in which an image meets it."""
    return tuple(_SAYERS[name](recipe, found) for name in ORDER if name in found.fields)


def about(recipe: Preprocess, found: Found) -> str:
    """All that `found` changes, in a few words: `color RGB, pad 0`."""
    shown = []
    for each in differences(recipe, found):
        value = each.reference
        shown.append(f"{each.field} {_triple(np.array(value)) if isinstance(value, list) else value}")
    return ", ".join(shown) or "the recipe as it is"


def _layout(recipe: Preprocess, found: Found) -> Difference:
    width, height = recipe.size_wh
    last = f"the reference is ({height}, {width}, 3), channels last; networks take (3, {height}, {width})"
    says = {
        "channels-last": last,
        "reshaped": "the reference was reshaped from channels last where it should have been transposed",
        "swapped": "rows and columns of the reference are swapped",
    }
    layout = found.supposed.layout
    return Difference(field="layout", reference=layout, recipe="channels-first", says=says[layout])


def _color(recipe: Preprocess, found: Found) -> Difference:
    color = found.supposed.color
    also, lines = "", [f'color = "{color}"']
    if found.turned:
        also = ", mean and std with it"
        lines += _norm_lines(found)
    return Difference(
        field="color",
        reference=color,
        recipe=recipe.color,
        says=f"the reference is {color}, the recipe says {recipe.color}{also}",
        card=tuple(lines),
    )


def _fit(recipe: Preprocess, found: Found) -> Difference:
    guess = found.supposed.guess
    does, lines = _DOES[guess.fit], [f'fit = "{guess.fit}"']
    if guess.fit == "letterbox":
        lines += [f'align = "{guess.align}"']
        does += f" {_PLACES[guess.align]}"
        if found.pad is not None:
            does += f" on {_triple(found.pad)}"
            lines += _pad_lines(found.pad)
    if guess.fit == "crop":
        lines += [f"crop = {guess.crop:g}"]
        does += f" {guess.crop:g}"
    if guess.fit == recipe.fit:
        does, recipe_does = _QUIRKS[guess.quirk]
    else:
        recipe_does = _DOES[recipe.fit]
        does += f" ({_QUIRKS[guess.quirk][0]})" if guess.quirk else ""
    return Difference(
        field="fit",
        reference=guess.fit + (f" {guess.quirk}" if guess.quirk else ""),
        recipe=recipe.fit,
        says=f"the reference {does}, the recipe {recipe_does}",
        card=() if guess.quirk else tuple(lines),
    )


def _align(recipe: Preprocess, found: Found) -> Difference:
    align = found.supposed.guess.align
    return Difference(
        field="align",
        reference=align,
        recipe=recipe.align,
        says=f"the reference puts the image {_PLACES[align]}, the recipe {_PLACES[recipe.align]}",
        card=(f'align = "{align}"',),
    )


def _crop(recipe: Preprocess, found: Found) -> Difference:
    crop = found.supposed.guess.crop
    return Difference(
        field="crop",
        reference=crop,
        recipe=recipe.crop,
        says=f"the reference keeps {crop:g} of the short side, the recipe {recipe.crop:g}",
        card=(f"crop = {crop:g}",),
    )


def _interpolation(recipe: Preprocess, found: Found) -> Difference:
    name = found.supposed.guess.interpolation
    told = OTHERS.get(name, name)
    return Difference(
        field="interpolation",
        reference=name,
        recipe=recipe.interpolation,
        says=f"the reference is {told}, the recipe says {recipe.interpolation}",
        card=(f'interpolation = "{name}"',) if name in OWN else (),
    )


def _pad(recipe: Preprocess, found: Found) -> Difference:
    if found.pad is None:
        says = f"the reference's border is not of one colour (mirrored?), the recipe pads with {recipe.pad}"
        return Difference(field="pad", reference=None, recipe=recipe.pad, says=says)
    says = f"the reference pads with {_triple(found.pad)}, the recipe with {recipe.pad}"
    if found.norm.mean.any() and np.abs(found.pad - found.norm.mean).max() < _ALIKE:
        says = f"the reference pads with 0 after mean and std, the recipe with {recipe.pad} before them"
    return Difference(
        field="pad", reference=_numbers(found.pad), recipe=recipe.pad, says=says, card=_pad_lines(found.pad)
    )


def _scale(recipe: Preprocess, found: Found) -> Difference:
    norm = found.norm
    factor = float(f"{norm.factor:.4g}")
    by = f"divided by {factor:g}" if factor > 1 else f"multiplied by {1 / norm.factor:.4g}"
    if not any(recipe.mean):
        says = f"the reference is what the recipe makes, {by}"
    elif norm.after:
        says = f"the reference is what the recipe makes, {by} after mean and std"
    else:
        says = f"the reference's pixels are {by} before mean and std, which the recipe means for 0..255"
    return Difference(field="scale", reference=factor, recipe=1.0, says=says, card=_norm_lines(found))


def _mean(recipe: Preprocess, found: Found) -> Difference:
    mean = found.norm.mean
    return Difference(
        field="mean",
        reference=_numbers(mean),
        recipe=list(recipe.mean),
        says=f"the reference subtracts {_triple(mean)}, the recipe {_triple(np.array(recipe.mean))}",
        card=_norm_lines(found),
    )


def _std(recipe: Preprocess, found: Found) -> Difference:
    std = found.norm.std
    return Difference(
        field="std",
        reference=_numbers(std),
        recipe=list(recipe.std),
        says=f"the reference divides by {_triple(std)}, the recipe by {_triple(np.array(recipe.std))}",
        card=_norm_lines(found),
    )


_SAYERS: dict[str, Callable[[Preprocess, Found], Difference]] = {
    "layout": _layout,
    "color": _color,
    "fit": _fit,
    "align": _align,
    "crop": _crop,
    "interpolation": _interpolation,
    "pad": _pad,
    "scale": _scale,
    "mean": _mean,
    "std": _std,
}


def _norm_lines(found: Found) -> tuple[str, ...]:
    norm, lines = found.norm, []
    scaled = "scale" in norm.fields
    if found.turned or "mean" in norm.fields or (scaled and not norm.after and norm.mean.any()):
        lines.append(f"mean = {_numbers(norm.mean)}")
    if found.turned or "std" in norm.fields or scaled:
        lines.append(f"std = {_numbers(norm.std)}")
    return tuple(lines)


def _pad_lines(pad: Floats) -> tuple[str, ...]:
    grey = round(float(pad.mean()))
    return (f"pad = {grey}",) if np.abs(pad - grey).max() < _ALIKE and 0 <= grey <= 255 else ()


def _numbers(values: Floats) -> list[float]:
    """Without the noise of the solution."""
    return [_round(float(value)) for value in values]


def _triple(values: Floats) -> str:
    shown = [f"{_round(float(value)):g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else f"({', '.join(shown)})"


def _round(value: float) -> float:
    """To the thousandth, a small one to four digits: what is smaller was not measured."""
    return (float(f"{value:.4g}") if 1e-3 < abs(value) < 1 else round(value, 3)) + 0.0  # no -0
