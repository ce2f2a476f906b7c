"""Does somebody's training code show a network what the bundle does? If not, which field of the recipe is to blame?

Every neighbour of the recipe is tried, those with one field changed before those with two: `guesses` says where pixels
may have come from, `solving` which mean and std make them the reference's values. What is then left over, in grey
levels, tells: the right supposition leaves nothing, another one leaves edges and colours.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgezoo.frame import Image
from edgezoo.measure.likeness.differences import Difference, about, differences
from edgezoo.measure.likeness.supposing import CLOSE_LEVELS, EXACT_LEVELS, Evidence, Found, Supposed, suppositions
from edgezoo.preprocess import Preprocess

MOST_CHANGES = 3
"""Of layout, colour order, fit, align, crop and interpolation; mean, std and pad are read off, whatever they are."""

_STRANGE_LEVELS = 25.0
_A_FIELD = 1.15  # how much nearer one more changed field must come, to be called nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class Apart:
    """How far a reference is from what the recipe makes, as they are."""

    size_wh: tuple[int, int]
    """Of the image."""
    largest: float
    """In the tensor's own units."""
    largest_levels: float
    """In grey levels, as the recipe's std says."""


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Likeness:
    """What `explain` found."""

    recipe: Preprocess
    apart: tuple[Apart, ...]
    """Image by image."""
    explanations: tuple[Found, ...]
    """All that explain the references with the fewest fields changed; more than one: these images cannot tell."""
    nearest: Found
    """What comes nearest, whether it explains or not."""
    instead: Found | None
    """Where no recipe can say the explanation: what comes nearest of what one can."""
    blind: tuple[Found, ...]
    """Where the references are the same: changes of one field that these images would not show."""

    @property
    def same(self) -> bool:
        return any(not found.fields for found in self.explanations)

    @property
    def unproved(self) -> list[str]:
        """The fields that these images say nothing about."""
        return list(dict.fromkeys(field for found in self.blind for field in sorted(found.fields)))

    def differences(self) -> list[tuple[Difference, ...]]:
        """The fields that are different, for every explanation."""
        return [self.changes(found) for found in self.explanations if found.fields]

    def changes(self, found: Found) -> tuple[Difference, ...]:
        """All that an explanation changes."""
        return differences(self.recipe, found)

    def told_apart_by(self, images: Sequence[Image]) -> list[int]:
        """The indices of images that would show what these left open."""
        pairs = list(itertools.combinations(self.explanations, 2)) + [(self.nearest, other) for other in self.blind]
        return [k for k, image in enumerate(images) if pairs and all(self._shows(image, *pair) for pair in pairs)]

    def _shows(self, image: Image, one: Found, other: Found) -> bool:
        apart = np.abs(one.tensor(image) - other.tensor(image)) * np.array(self.recipe.std)
        return bool(apart.max() > 2 * CLOSE_LEVELS)

    @property
    def nearest_says(self) -> str:
        """The nearest change and how far it is, where nothing explains the references."""
        near = self.nearest
        strange = "; is it a tensor of this image?" if near.rms_levels > _STRANGE_LEVELS else ""
        return f"{about(self.recipe, near)}, still {far(near)}{strange}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "same": self.same,
            "images": [dataclasses.asdict(apart) for apart in self.apart],
            "explanations": [self._dict(found) for found in self.explanations],
            "nearest": self._dict(self.nearest),
            "instead": None if self.instead is None else self._dict(self.instead),
            "unproved": self.unproved,
        }

    def _dict(self, found: Found) -> dict[str, Any]:
        return {
            "fields": sorted(found.fields),
            "left_levels": found.left_levels,
            "rms_levels": found.rms_levels,
            "differences": [dataclasses.asdict(each) for each in self.changes(found)],
        }


def far(found: Found) -> str:
    """How much a supposition leaves unexplained."""
    return f"{found.left_levels:.1f} grey levels off at most, {found.rms_levels:.2f} rms"


def explain(recipe: Preprocess, images: Sequence[Image], references: Sequence[npt.NDArray[Any]]) -> Likeness:
    """Compare tensors that somebody made of `images` with what `recipe` makes, and name what is different.

    `references`, one for each image: (3, H, W) or (H, W, 3), either with a leading 1, of finite floats or uint8.
    Raises ShapeError.
    """
    evidence = Evidence(recipe, images, references)
    supposed = list(suppositions(recipe, evidence.layouts))
    explaining: list[Found] = []
    near: list[Found] = []
    for changes in range(MOST_CHANGES + 2):  # one more, for a layout that the shape tells
        for each in supposed:
            if len(each.fields) == changes:
                first = evidence.judge(each, whole=False)
                near.append(min(first, key=_distance))
                if _best(first):
                    explaining += _best(evidence.judge(each, whole=True))
        # No later one changes fewer fields. Where two are wrong and explain all exactly, other twos are not looked for.
        if any(len(found.fields) <= changes + (found.exact and changes > 0) for found in explaining):
            break
    explanations = _simplest(explaining)
    nearest = explanations[0] if explanations else _whole(evidence, min(near, key=_distance))
    same = bool(explanations) and not explanations[0].fields
    sayable = not explanations or explanations[0].supposed.guess.plain
    return Likeness(
        recipe=recipe,
        apart=tuple(_apart(recipe, image, evidence.natural(k)) for k, image in enumerate(images)),
        explanations=tuple(explanations),
        nearest=nearest,
        instead=None if sayable else _instead(evidence, supposed, explanations[0]),
        blind=tuple(_blind(evidence, supposed, explanations[0])) if same else (),
    )


def _best(found: Sequence[Found]) -> list[Found]:
    """Of one supposition's means and stds: those that explain, exactly where one does, with the fewest changes."""
    good = [each for each in found if each.exact] or [
        each for each in found if each.left_levels <= CLOSE_LEVELS + EXACT_LEVELS
    ]
    fewest = min((len(each.norm.fields) for each in good), default=0)
    good = [each for each in good if len(each.norm.fields) == fewest]
    if any("scale" in each.norm.fields for each in good):  # one factor for all is a std too
        good = [each for each in good if each.norm.fields != {"std"}]
    return good


def _simplest(found: Sequence[Found]) -> list[Found]:
    """The fewest changes; among those what is exact, where there is such; among those what a recipe can say."""
    fewest = min((len(each.fields) for each in found), default=0)
    good = [each for each in found if len(each.fields) == fewest]
    good = [each for each in good if each.exact] or good
    plain = {each.fields for each in good if each.supposed.guess.plain}
    good = [each for each in good if each.supposed.guess.plain or each.fields not in plain]
    return sorted(good, key=lambda each: each.rms_levels)


def _distance(found: Found) -> float:
    return found.rms_levels * _A_FIELD ** len(found.fields)


def _whole(evidence: Evidence, sampled: Found) -> Found:
    """The same on all pixels."""
    return min(evidence.judge(sampled.supposed, whole=True), key=_distance)


def _instead(evidence: Evidence, supposed: Sequence[Supposed], found: Found) -> Found:
    """The nearest supposition that a recipe can say, all else as found."""
    layout, color = found.supposed.layout, found.supposed.color
    sayable = [each for each in supposed if each.guess.plain and (each.layout, each.color) == (layout, color)]
    tried = [
        one for each in sayable for one in evidence.judge(each, whole=False) if one.norm.fields == found.norm.fields
    ]
    return _whole(evidence, min(tried, key=_distance))


def _blind(evidence: Evidence, supposed: Sequence[Supposed], same: Found) -> list[Found]:
    """What would explain the references as well as the recipe does, with one field changed."""
    found = []
    for each in supposed:
        if len(each.fields) == 1 and each.guess.plain:
            good = [one for one in _best(evidence.judge(each, whole=False)) if len(one.fields) == 1]
            if good:
                found += [one for one in _best(evidence.judge(each, whole=True)) if len(one.fields) == 1]
    if same.supposed.guess.fit == "letterbox" and same.pad is None:
        other = np.full(3, float((evidence.recipe.pad + 128) % 256))
        found.append(dataclasses.replace(same, pad=other, fields=frozenset({"pad"})))
    return found


def _apart(recipe: Preprocess, image: Image, tensor: npt.NDArray[Any]) -> Apart:
    difference = np.abs(tensor.astype(np.float64) - recipe.tensor(image).transpose(1, 2, 0))
    return Apart(
        size_wh=(image.shape[1], image.shape[0]),
        largest=float(difference.max()),
        largest_levels=float((difference * recipe.std).max()),
    )
