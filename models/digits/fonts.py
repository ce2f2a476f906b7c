"""The typefaces of `fonts.toml`: which may be seen in training, which are held out for the test."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Split = Literal["train", "val", "test"]
Look = Literal["print", "script", "segments"]

FOLDER = Path("/usr/share/fonts")


class MissingFonts(RuntimeError):
    """Says which packages to install."""


@dataclass(frozen=True, slots=True)
class Face:
    """One font file."""

    path: Path
    package: str
    look: Look
    held_out: bool


@cache
def all_faces() -> tuple[Face, ...]:
    """Every face, in the order of the table; raises `MissingFonts` unless each package is there."""
    files = sorted(path for path in FOLDER.rglob("*") if path.suffix in {".ttf", ".otf"})
    faces: list[Face] = []
    missing: list[str] = []
    for family in tomllib.loads((Path(__file__).parent / "fonts.toml").read_text())["family"]:
        package = family["package"]
        known = _files_of(package)
        own = [file for file in files if str(file) in known]
        found = [file for file in own if any(file.match(glob) for glob in family["files"])]
        if not all(any(file.match(glob) for file in own) for glob in family["files"]):
            missing.append(package)
        faces += [Face(f, package, family.get("look", "print"), family.get("split") == "test") for f in found]
    if missing:
        raise MissingFonts(
            f"fonts are missing; try: apt-get install --no-install-recommends {' '.join(dict.fromkeys(missing))}"
        )
    return tuple(faces)


@cache
def families(split: Split, look: Look) -> tuple[tuple[Face, ...], ...]:
    """The faces that scenes of `split` may use, one group a package: validation shares the training's."""
    groups: dict[str, list[Face]] = {}
    for face in all_faces():
        if face.look == look and face.held_out == (split == "test"):
            groups.setdefault(face.package, []).append(face)
    return tuple(tuple(group) for group in groups.values())


def pick(rng: np.random.Generator, split: Split, look: Look) -> Face:
    """A face by family first: one of many weights should not be seen more often than one that stands alone."""
    groups = families(split, look)
    group = groups[rng.integers(len(groups))]
    return group[rng.integers(len(group))]


def _files_of(package: str) -> frozenset[str]:
    """What the package put on this machine, as dpkg lists it; nothing if it is not installed."""
    listing = Path(f"/var/lib/dpkg/info/{package}.list")
    return frozenset(listing.read_text().splitlines()) if listing.is_file() else frozenset()
