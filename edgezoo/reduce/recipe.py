"""How an int8 artifact is made, as a small file to read and to edit: it makes the same artifact again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgezoo import records
from edgezoo.errors import ConvertError, UnknownName, nearest
from edgezoo.imagesets import Drawn
from edgezoo.reduce.int8 import TARGETS
from edgezoo.reduce.int8.calibrate import METHODS
from edgezoo.reduce.int8.tensorrt import VERSIONS

_HEAD = """\
# Makes {name} of {model} again:
#     edgezoo convert BUNDLE --recipe FILE    (and --calibration PATH where `calibration` is no set of edgezoo's)
# To change it, edit a copy: a bundle's own files are checked when it is opened. Without `images_sha256` other images
# will do, without `weights` other weights; then it makes another artifact.
# Layers in `float` stay in float, the most harmful first. `tried` led here: so many layers in float, the harm to the
# answers as a share of them, and the points of agreement lost at least (95 %) on calibration images.

"""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantisationRecipe:
    """What to quantise, and how."""

    target: str
    """The runtime whose form it is."""
    method: str
    """How a tensor's range comes of what calibration saw."""
    float: tuple[str, ...] = ()
    """The layers that stay in float, by the names of their weights."""
    calibration: str
    """What the images were drawn from: a set's name, or that of a folder, a pattern or a video."""
    images: int
    """How many were drawn."""
    seed: int = 0
    images_sha256: str = ""
    """Over the hashes of these images, see `hash_of`; empty: any will do."""
    tensorrt: str | None = None
    """For tensorrt: the oldest version that must read it."""
    weights: str = ""
    """SHA-256 of the fp32 graph that it was found for; empty: any will do."""
    tried: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise UnknownName("target of int8", self.target, TARGETS)
        if self.method not in METHODS:
            raise UnknownName("method", self.method, METHODS)
        if self.tensorrt is not None and self.tensorrt not in VERSIONS:
            raise UnknownName("TensorRT version", self.tensorrt, VERSIONS)

    def to_toml(self, model: str) -> str:
        """The file's text."""
        name = f"int8-{self.target}"
        tables: dict[str, Any] = {
            "target": self.target,
            "method": self.method,
            "float": list(self.float),
            "calibration": self.calibration,
            "images": self.images,
            "seed": self.seed,
            **({"images_sha256": self.images_sha256} if self.images_sha256 else {}),
            **({"tensorrt": self.tensorrt} if self.tensorrt else {}),
            **({"weights": self.weights} if self.weights else {}),
            "tried": [dict(row) for row in self.tried],
        }
        told = "".join(letter if letter.isprintable() else "?" for letter in model)  # a comment ends with its line
        return _HEAD.format(name=name, model=told) + records.to_toml(
            {key: value for key, value in tables.items() if value != [] or key == "float"}, in_rows=["tried"]
        )


def read_recipe(path: str | Path) -> QuantisationRecipe:
    """The recipe in a file. Raises ConvertError."""
    path = Path(path)
    try:
        return records.read(QuantisationRecipe, records.parse_toml(path.read_text("utf-8")))
    except FileNotFoundError:
        raise ConvertError(f"{path}: expected a recipe, got no such file") from None
    except (OSError, ValueError) as error:
        raise ConvertError(f"{path}: expected a recipe in TOML: {' '.join(str(error).split())}") from None


def hash_of(drawn: Drawn) -> str:
    """SHA-256 over the images' own, in rising order: the same whatever the files are called."""
    return hashlib.sha256("\n".join(sorted(drawn.hashes.values())).encode()).hexdigest()


def check_weights(recipe: QuantisationRecipe, weights: str) -> None:
    """ConvertError where the recipe was found for another fp32 graph."""
    if recipe.weights not in ("", weights):
        raise ConvertError(
            f"the recipe's weights: expected the fp32 graph {recipe.weights[:16]}…, got {weights[:16]}…; give the "
            "bundle that it was found for, or remove `weights` from a copy of the recipe to try it on these"
        )


def check_images(recipe: QuantisationRecipe, drawn: Drawn) -> None:
    """ConvertError where other images were drawn than those that the recipe's calibration saw."""
    got = hash_of(drawn)
    if recipe.images_sha256 not in ("", got):
        raise ConvertError(
            f"the recipe's images: expected {recipe.images} of {recipe.calibration} ({recipe.images_sha256[:16]}…), "
            f"got {len(drawn)} of {drawn.title} ({got[:16]}…); give the same --calibration, or remove `images_sha256` "
            "from a copy of the recipe to calibrate anew"
        )


def check_layers(recipe: QuantisationRecipe, layers: Sequence[str]) -> None:
    """ConvertError where the recipe names a layer that the network does not have, or has not for that target."""
    for name in recipe.float:
        if name not in layers:
            near = nearest(name, layers)
            tip = f"did you mean {near!r}?" if near else f"there are {len(layers)}, such as {layers[0]!r}"
            raise ConvertError(
                f"the recipe's float: the network has no layer {name!r} that int8-{recipe.target} could make integer; "
                + tip
            )
