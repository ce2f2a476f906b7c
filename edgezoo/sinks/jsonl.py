"""One line of JSON per result and per event, in a file or on standard output."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from edgezoo.address import Address
from edgezoo.errors import SinkError
from edgezoo.frame import Event, Frame
from edgezoo.results import Result
from edgezoo.sinks import Overlay, check_target, part_of

FORMS = ("out.jsonl", "-")


def takes(address: Address) -> bool:
    return not address.scheme and (address.target == "-" or address.target.lower().endswith(".jsonl"))


def from_address(address: Address, *, fps: float | None, overlay: Overlay | None) -> JsonlSink:
    address.check_options(())
    return JsonlSink(None if address.target == "-" else Path(address.target).expanduser())


class JsonlSink:
    """Lines to `path`, which bears the name `*.part.jsonl` until close(); None is standard output.

    Every line is out before write() returns, so that a reader can follow. A number that is not finite
    becomes null. Without a line there is no file.

    Raises SinkError: the folder cannot be written to, or the disk is full.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.done = False
        self._path = path
        self._out: TextIO | None = None
        if path is not None:
            check_target(path)
        elif sys.stdout is None:
            raise SinkError("expected a standard output for '-', this process has none; try out.jsonl")

    def write(self, frame: Frame, result: Result) -> None:
        clock = {"pts_s": round(frame.pts_s, 6), "age_ms": round(frame.age_ms, 3)}
        seen = {"source": frame.source, "index": frame.index, **clock}
        self._line({"type": "result", **seen, **result.to_dict()})

    def event(self, event: Event) -> None:
        self._line({"type": "event", **event.to_dict()})

    def close(self) -> None:
        out, self._out = self._out, None
        if out is None or self._path is None:
            return
        try:
            out.close()
            os.replace(part_of(self._path), self._path)
        except OSError as error:
            raise self._failed(error) from error

    def _line(self, record: dict[str, Any]) -> None:
        if self.done:
            return
        try:
            if self._out is None:
                self._out = sys.stdout if self._path is None else part_of(self._path).open("w", encoding="utf-8")
            self._out.write(_dump(record) + "\n")
            self._out.flush()
        except BrokenPipeError:
            self.done = True
            _mute(self._out)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> SinkError:
        name = "standard output" if self._path is None else repr(str(self._path))
        reason = error.strerror or type(error).__name__
        return SinkError(f"expected to write a line to {name}, got: {reason}; try a place with free space")


def _dump(record: dict[str, Any]) -> str:
    try:
        return json.dumps(record, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(record), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _mute(out: TextIO | None) -> None:
    """Point a stream without a reader at nothing: what is left in it must not fail again when Python ends."""
    try:
        number = out.fileno() if out is not None else -1
    except (io.UnsupportedOperation, ValueError):
        return
    if number >= 0:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
