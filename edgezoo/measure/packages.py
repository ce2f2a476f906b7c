"""Python packages that may be here: looked for, and where it matters loaded, for a library under one may be missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, slots=True)
class Package:
    """What became of a package."""

    state: State
    what: str
    """Its version, or what is wrong."""
    cure: str = ""
    """Where it is another than to install it."""
    module: ModuleType | None = None
    """Where it was loaded."""


def find(name: str) -> Package:
    """A package by the name that both pip and Python know; not loaded, which may take seconds."""
    if importlib.util.find_spec(name) is None:
        return Package("missing", "not installed")
    version = "no version"
    with suppress(importlib.metadata.PackageNotFoundError):
        version = importlib.metadata.version(name)
    return Package("ok", version)


def load(module: str, *, brought_by: str = "") -> Package:
    """A module, really loaded.

    `brought_by`: what the names of all packages that bring it begin with; two of them overwrite each other's files.
    """
    if importlib.util.find_spec(module) is None:
        return Package("missing", "not installed")
    try:
        loaded = importlib.import_module(module)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        cure = "apt install libgl1 libglib2.0-0" if module == "cv2" and ".so" in reason else ""
        return Package("broken", f"installed, but cannot be loaded: {reason}", cure)
    version = str(getattr(loaded, "__version__", "no version"))
    rivals = _rivals(brought_by) if brought_by else []
    if len(rivals) > 1:
        cure = f"pip uninstall -y {' '.join(rivals)} && pip install {rivals[0]}"
        return Package("broken", f"{version}; {' and '.join(rivals)} lie in the same folder", cure, loaded)
    return Package("ok", f"{version}, of {rivals[0]}" if rivals and rivals[0] != module else version, module=loaded)


def _rivals(start: str) -> list[str]:
    """Installed packages that hold the whole library whose packages' names begin with `start`."""
    pattern = re.compile(rf"{start}(-(contrib-)?python(-headless)?|-gpu|-openvino|-directml)?", re.IGNORECASE)
    names = {distribution.metadata["Name"] or "" for distribution in importlib.metadata.distributions()}
    return sorted(name for name in names if pattern.fullmatch(name))
