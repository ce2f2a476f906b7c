"""Which names a version has: read from the listings that were made of NVIDIA's own modules."""

from __future__ import annotations

import enum
import functools
import json
import os
from pathlib import Path
from typing import Any, TypeVar

VERSION = os.environ.get("FAKE_TENSORRT", "11.4.0.106")
NUMBERS = tuple(int(part) for part in VERSION.split("."))
LISTINGS = Path(__file__).parents[2] / "tensorrt_names"

Kind = TypeVar("Kind", bound=type)
EXPORTED: dict[str, Any] = {}
WRITTEN: dict[str, dict[str, Any]] = {}
"""Every class of the fake with all its members, those too that this version does not have."""


@functools.cache
def listing() -> dict[str, Any]:
    """The listing of this version, or of the newest other patch of the same minor version."""
    fitting = sorted(LISTINGS.glob(f"{NUMBERS[0]}.{NUMBERS[1]}.*.json"))
    exact = [file for file in fitting if file.stem == VERSION]
    if not fitting:
        raise ImportError(f"FAKE_TENSORRT={VERSION}: there are {sorted(file.stem for file in LISTINGS.glob('*.json'))}")
    found: dict[str, Any] = json.loads((exact or fitting)[-1].read_text("utf-8"))
    return found


def real(kind: Kind) -> Kind:
    """A class of the fake, without what the version does not have; not exported where it does not have the class."""
    members = {name: value for name, value in vars(kind).items() if not name.startswith("_")}
    WRITTEN[kind.__name__] = members
    there = listing()["classes"].get(kind.__name__)
    if there is not None:
        for name, value in members.items():
            if name not in there:
                delattr(kind, name)
            elif there[name] == "get" and isinstance(value, property) and value.fset is not None:
                setattr(kind, name, property(value.fget))
        EXPORTED[kind.__name__] = kind
    return kind


class Enum(enum.Enum):
    """As pybind11 makes them: a number only by `int()`, equal only to its own kind."""

    def __int__(self) -> int:
        return int(self.value)

    def __lt__(self, other: Enum) -> bool:
        return NotImplemented if type(other) is not type(self) else self.value < other.value

    def __le__(self, other: Enum) -> bool:
        return NotImplemented if type(other) is not type(self) else self.value <= other.value


class _DataType(Enum):
    @property
    def itemsize(self) -> int:
        return {"FLOAT": 4, "INT32": 4, "INT64": 8, "HALF": 2, "BF16": 2}.get(self.name, 1)


def made(name: str) -> Any:
    """The enum of that name with the members and numbers of this version; None where it has none."""
    members = listing()["enums"].get(name)
    if members is None:
        return None
    base: Any = _DataType if name == "DataType" else Enum
    return base(name.rpartition(".")[2], members, module="tensorrt")


ENUMS = {name: made(name) for name in listing()["enums"]}


class Stored(property):
    """A property that keeps what is written to it, of one kind only, as NVIDIA's setters take it."""

    def __init__(self, default: Any, kind: type | None = None) -> None:
        self._default, self._kind, self._key = default, kind, ""
        super().__init__(self._read, self._write)

    def __set_name__(self, owner: type, name: str) -> None:
        self._key = f"_{name}"

    def _read(self, thing: Any) -> Any:
        return thing.__dict__.get(self._key, self._default)

    def _write(self, thing: Any, value: Any) -> None:
        if self._kind is not None and value is not None and not isinstance(value, self._kind):
            raise TypeError(f"(): incompatible function arguments: {self._key[1:]} takes {self._kind}, not {value!r}")
        thing.__dict__[self._key] = value


class _Made(type):
    """pybind11 refuses an object whose class forgot to call the `__init__` above it."""

    def __call__(cls, *given: Any, **named: Any) -> Any:
        thing = super().__call__(*given, **named)
        if not thing.__dict__.get("_born"):
            above = next(kind for kind in cls.__mro__ if kind.__module__.startswith("tensorrt."))
            raise TypeError(f"tensorrt.{above.__name__}.__init__() must be called when overriding __init__")
        return thing


class Real(metaclass=_Made):
    """What all of them have in common: no attribute can be written that is not there."""

    def __init__(self) -> None:
        self._born = True

    def __setattr__(self, name: str, value: Any) -> None:
        ours = type(self).__module__.startswith("tensorrt.")
        if ours and not name.startswith("_") and not isinstance(getattr(type(self), name, None), property):
            raise AttributeError(f"'tensorrt.{type(self).__name__}' object has no attribute '{name}'")
        super().__setattr__(name, value)
