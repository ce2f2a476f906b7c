"""Everything edgezoo raises, as one tree.

    EdgezooError
    ├── RequestError(ValueError)            an option or an argument that cannot be served
    │   └── UnknownName(LookupError)        no model, backend, source, ... of that name
    ├── MissingDependency(ImportError)      an optional package or system library is not here
    ├── CardError(ValueError)               a card that cannot be read or breaks a rule
    ├── WeightsError(OSError)               a file of weights: not to be had, or not what its hash says
    ├── BundleError(ValueError)             a bundle that is damaged, unsafe, or not one
    ├── ConvertError(ValueError)            a network that cannot become a bundle
    │   └── AgreementError                  it became one that answers differently
    ├── BackendError(RuntimeError)          a runtime that is not what was asked for, or failed
    │   └── NotCompiled                     no compiled engine for this machine, yet or any more
    ├── ShapeError(ValueError)              an array of the wrong shape or dtype
    ├── DataError(ValueError)               a data set that cannot be read as labels and images
    ├── SourceError(OSError)                frames that do not come
    │   ├── SourceAbsent                    nobody is there yet, which was found out without opening anything
    │   └── SourceRefused                   it says no, and would again
    └── SinkError(OSError)                  results that cannot be put where they should go

Every error is also the builtin in brackets, so that callers who do not know edgezoo can still
catch it. A message is one line: what was expected, what came, what to try.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST_NAMED = 24  # a thousand classes are no line


class EdgezooError(Exception):
    """The root: `except EdgezooError` catches all that edgezoo raises on purpose."""


class RequestError(EdgezooError, ValueError):
    pass


class UnknownName(RequestError, LookupError):
    """No such name; the message offers the nearest one."""

    def __init__(self, what: str, name: str, known: Iterable[str], *, cure: str = "") -> None:
        known = sorted(known)
        near = nearest(name, known)
        more = f", … {len(known)} in all" if len(known) > _MOST_NAMED else ""
        listed = ", ".join(known[:_MOST_NAMED]) or "none"
        hint = f"did you mean {near!r}?" if near else f"known: {listed}{more}"
        super().__init__(f"no {what} is called {name!r}; {hint}" + (f" {cure}" if cure else ""))


class MissingDependency(EdgezooError, ImportError):
    pass


class CardError(EdgezooError, ValueError):
    pass


class WeightsError(EdgezooError, OSError):
    pass


class BundleError(EdgezooError, ValueError):
    pass


class ConvertError(EdgezooError, ValueError):
    pass


class AgreementError(ConvertError):
    pass


class BackendError(EdgezooError, RuntimeError):
    pass


class NotCompiled(BackendError):
    """`how`: the options that an earlier one was compiled with, as the command takes them."""

    def __init__(self, message: str, *, how: str = "") -> None:
        super().__init__(message)
        self.how = how


class ShapeError(EdgezooError, ValueError):
    pass


class DataError(EdgezooError, ValueError):
    pass


class SourceError(EdgezooError, OSError):
    pass


class SourceAbsent(SourceError):
    pass


class SourceRefused(SourceError):
    """`may_pass`: a server that is just starting may say so for a moment, as a path that it does not have yet."""

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class SinkError(EdgezooError, OSError):
    pass


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a typing mistake most likely meant, or None."""
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None
