"""What the doctor's checks have in common: a row for each finding, and a try in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, dataclass

from edgezoo.measure.packages import Package, State

TRY_S = 8.0


@dataclass(frozen=True, slots=True)
class Row:
    """One finding."""

    section: str
    name: str
    state: State
    """`missing` need not matter: not everybody has a camera."""
    what: str
    cure: str = ""
    """What to type, where something can be done."""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def row_of(section: str, name: str, found: Package, cure: str) -> Row:
    return Row(section, name, found.state, found.what, "" if found.state == "ok" else found.cure or cure)


def tried(code: str, *arguments: str) -> tuple[str, str]:
    """What went wrong with `code` in a process of its own, empty if nothing did, and what it printed."""
    command = [sys.executable, "-c", code, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRY_S, check=False)
    except subprocess.TimeoutExpired:
        return f"it did not answer within {TRY_S:.0f} s", ""
    if done.returncode == 0:
        return "", done.stdout
    reason = done.stderr.strip().splitlines()[-1:] or [f"the process ended with {done.returncode}"]
    return reason[0][:300], done.stdout
